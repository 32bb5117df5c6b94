package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// cgroupService is this process's cgroup and the one supervisor that watches for it.
// Every installation shares it; with the last it goes.
type cgroupService struct {
	installer *supervised // starts the supervisor
	own       cgroupfs.Group
	tree      *cgroupfs.Tree

	mu      sync.Mutex
	users   int
	groups  int
	channel *os.File // to the supervisor, nil while there is none
	changed sync.Cond
	failed  error
	closing bool
}

var (
	theServiceMu sync.Mutex
	theService   *cgroupService
)

// acquireService returns the one service, made if need be.
func acquireService(ctx context.Context, opts registry.InstallOptions) (*cgroupService, error) {
	theServiceMu.Lock()
	defer theServiceMu.Unlock()
	if theService == nil {
		s, err := newService(ctx, opts)
		if err != nil {
			return nil, err
		}
		theService = s
	}
	theService.users++
	return theService, nil
}

func newService(ctx context.Context, opts registry.InstallOptions) (*cgroupService, error) {
	installer, err := findSupervisor(CgroupName, 0, opts)
	if err != nil {
		return nil, err
	}
	tree, err := makeTree()
	if err != nil {
		return nil, err
	}
	own, err := cgroupfs.Own()
	s := &cgroupService{installer: installer, own: own, tree: tree}
	s.changed.L = &s.mu
	if err == nil {
		err = s.startSupervisor(ctx)
	}
	if err != nil {
		_ = tree.Remove()
		_ = tree.Lock.Close()
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	// What others left is not worth failing for; it will be tried again.
	_ = cgroupfs.Sweep(own, time.Now().Add(time.Second))
	return s, nil
}

// release gives up one use; the last ends the supervisor, which removes the cgroup.
func (s *cgroupService) release() {
	theServiceMu.Lock()
	defer theServiceMu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	theService = nil
	s.mu.Lock()
	s.closing = true
	channel := s.channel
	s.mu.Unlock()
	if channel != nil {
		// The end of the channel is the order to end. The supervisor answers when
		// the cgroup is gone.
		_ = channel.SetReadDeadline(time.Now().Add(registry.SupervisorKillDeadline))
		if conn, err := channel.SyscallConn(); err == nil {
			shutdownWrite(conn)
		}
		s.mu.Lock()
		for s.channel != nil {
			s.changed.Wait()
		}
		s.mu.Unlock()
	} else {
		_ = s.tree.End(time.Now().Add(registry.SupervisorKillDeadline))
	}
	_ = s.tree.Lock.Close()
}

// newGroup makes the cgroup of one backend.
func (s *cgroupService) newGroup() (cgroupfs.Group, error) {
	s.mu.Lock()
	s.groups++
	g := s.tree.Sub("b" + strconv.Itoa(s.groups))
	s.mu.Unlock()
	return g, g.Make()
}

// watched returns nil once a supervisor watches this process. While a
// supervisor that died is being replaced it waits.
func (s *cgroupService) watched() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.channel == nil && s.failed == nil {
		s.changed.Wait()
	}
	return s.failed
}

// startSupervisor starts a supervisor and returns when it watches.
func (s *cgroupService) startSupervisor(ctx context.Context) error {
	spec := newSpec()
	spec.Watch = string(s.tree.Group)
	cmd := exec.Command(s.installer.executable)
	cmd.ExtraFiles = []*os.File{s.tree.Lock}
	spec.LockFD = 3
	h, err := s.installer.rewrite(cmd, spec)
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		h.close()
		return fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, s.installer.executable, err)
	}
	limit := startDeadline
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	if _, err := h.shake(limit); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		h.close()
		return err
	}
	s.mu.Lock()
	s.channel, s.failed = h.channel, nil
	s.changed.Broadcast()
	s.mu.Unlock()
	go s.follow(h, cmd)
	return nil
}

// follow waits for the supervisor's end, and replaces it unless that was wanted.
func (s *cgroupService) follow(h *handshake, cmd *exec.Cmd) {
	var err error
	for err == nil {
		var m supervisor.Message
		if m, err = readMessage(h.channel); err == nil && m.Op == supervisor.OpEmpty {
			break
		}
	}
	s.mu.Lock()
	closing := s.closing
	s.channel = nil
	s.changed.Broadcast()
	s.mu.Unlock()
	h.channel.Close()
	if closing {
		_ = cmd.Wait()
		return
	}
	_ = cmd.Process.Kill() // it has ended, or has lost its channel and is of no use
	_ = cmd.Wait()
	if err := s.startSupervisor(context.Background()); err != nil {
		s.mu.Lock()
		s.failed = fmt.Errorf("the supervisor ended and could not be replaced: %w", err)
		s.changed.Broadcast()
		s.mu.Unlock()
	}
}
