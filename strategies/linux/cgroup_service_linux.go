package linux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// cgroupService is this process's cgroup and the one supervisor that watches for it.
// Every installation with the same supervisor shares it; with the last it goes.
type cgroupService struct {
	installer *supervised // starts the supervisor
	own       cgroupfs.Group
	tree      *cgroupfs.Tree

	euid int // when it was made

	users int // guarded by services.mu

	mu       sync.Mutex
	groups   int
	spare    cgroupfs.Group // made ahead and never used, "" if there is none
	channel  *os.File       // to the supervisor, nil while there is none
	starting bool           // a supervisor
	closing  bool
	changed  sync.Cond // channel or starting

	listeners map[int]func(error) // to the replacement of the supervisor
	listened  int
}

// services are those of linux/cgroup.
type services struct {
	mu           sync.Mutex
	byExecutable map[string]*cgroupService // of the supervisor
}

// acquireService returns the service for that supervisor, made if need be.
func acquireService(ctx context.Context, opts registry.InstallOptions) (*cgroupService, error) {
	installer, err := findSupervisor(CgroupName, 0, opts)
	if err != nil {
		return nil, err
	}
	services := &process.services
	services.mu.Lock()
	defer services.mu.Unlock()
	s := services.byExecutable[installer.executable]
	if s == nil {
		if s, err = newService(ctx, installer); err != nil {
			return nil, err
		}
		if services.byExecutable == nil {
			services.byExecutable = make(map[string]*cgroupService)
		}
		services.byExecutable[installer.executable] = s
	}
	s.users++
	return s, nil
}

func newService(ctx context.Context, installer *supervised) (*cgroupService, error) {
	tree, err := makeTree()
	if err != nil {
		return nil, err
	}
	own, err := cgroupfs.Own()
	if err != nil {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	s := &cgroupService{installer: installer, own: own, tree: tree, euid: os.Geteuid(), starting: true}
	s.changed.L = &s.mu
	if err == nil {
		err = s.startSupervisor(ctx)
	}
	if err != nil {
		_ = tree.Remove()
		_ = tree.Lock.Close()
		return nil, err
	}
	// What others left is not worth failing for; it will be tried again.
	_ = cgroupfs.Sweep(own, time.Now().Add(time.Second))
	return s, nil
}

// release gives up one use; the last ends the supervisor, which removes the cgroup.
func (s *cgroupService) release() {
	services := &process.services
	services.mu.Lock()
	defer services.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	delete(services.byExecutable, s.installer.executable)
	s.mu.Lock()
	s.closing = true
	for s.starting { // the replacement of one that was killed
		s.changed.Wait()
	}
	if s.channel != nil {
		// The end of the channel is the order to end. The supervisor answers when
		// the cgroup is gone.
		_ = s.channel.SetReadDeadline(time.Now().Add(registry.SupervisorKillDeadline))
		if conn, err := s.channel.SyscallConn(); err == nil {
			shutdownWrite(conn)
		}
	}
	for s.channel != nil {
		s.changed.Wait()
	}
	s.mu.Unlock()
	_ = s.tree.End(time.Now().Add(registry.SupervisorKillDeadline)) // if the supervisor has not
	_ = s.tree.Lock.Close()
}

// listen has f called when the supervisor has been replaced, or could not be, until the
// function that it returns is called. f may be nil.
func (s *cgroupService) listen(f func(error)) (forget func()) {
	if f == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil {
		s.listeners = make(map[int]func(error))
	}
	s.listened++
	key := s.listened
	s.listeners[key] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, key)
	}
}

// replaced tells those who listen.
func (s *cgroupService) replaced(err error) {
	s.mu.Lock()
	listeners := slices.Collect(maps.Values(s.listeners))
	s.mu.Unlock()
	for _, f := range listeners {
		f(err)
	}
}

// mayStart returns an error if this process has given up the rights that it had when
// the cgroup was made.
func (s *cgroupService) mayStart() error {
	now := os.Geteuid()
	if now == s.euid {
		return nil
	}
	if err := unix.Faccessat(unix.AT_FDCWD, string(s.tree.Group), unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("this process installed with the effective uid %d and has %d now, which may not use the cgroup %s: %w; install after the change, or have the subtree delegated to that user", s.euid, now, s.tree.Group, err)
	}
	return nil
}

// newGroup returns a cgroup for one backend: the spare one, or one made now. A
// group that a backend was in is never used again: what that set there, such as
// cgroup.freeze or a limit, would be the next one's.
func (s *cgroupService) newGroup() (cgroupfs.Group, error) {
	s.mu.Lock()
	g := s.spare
	s.spare = ""
	s.mu.Unlock()
	if g != "" {
		return g, nil
	}
	g = s.nextGroup()
	return g, g.Make()
}

// refill makes the group of the next backend, while the last one's process
// begins: that takes the kernel a while, which Start then need not wait for.
func (s *cgroupService) refill() {
	s.mu.Lock()
	wanted := s.spare == "" && !s.closing
	s.mu.Unlock()
	if !wanted {
		return
	}
	g := s.nextGroup()
	if g.Make() != nil { // the next Start tries again, and says why
		return
	}
	s.mu.Lock()
	wanted = s.spare == "" && !s.closing
	if wanted {
		s.spare = g
	}
	s.mu.Unlock()
	if !wanted {
		_ = g.Remove()
	}
}

// nextGroup names a group that does not exist yet.
func (s *cgroupService) nextGroup() cgroupfs.Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups++
	return s.tree.Sub("b" + strconv.Itoa(s.groups))
}

// watched returns nil once a supervisor watches this process. While one that
// died is being replaced it waits; if that has failed it tries again.
func (s *cgroupService) watched() error {
	s.mu.Lock()
	for s.starting || s.channel != nil && hungUp(s.channel) { // which follow is about to see
		s.changed.Wait()
	}
	missing := s.channel == nil
	s.starting = missing
	s.mu.Unlock()
	if !missing {
		return nil
	}
	if err := s.startSupervisor(context.Background()); err != nil {
		return fmt.Errorf("the supervisor ended and could not be replaced: %w", err)
	}
	return nil
}

// startSupervisor starts a supervisor and returns when it watches. The caller
// has set starting.
func (s *cgroupService) startSupervisor(ctx context.Context) error {
	h, cmd, err := s.launch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = false
	s.changed.Broadcast()
	if err != nil {
		return err
	}
	s.channel = h.channel
	go s.follow(h, cmd)
	return nil
}

func (s *cgroupService) launch(ctx context.Context) (*handshake, *exec.Cmd, error) {
	spec := newSpec()
	spec.Watch = string(s.tree.Group)
	cmd := &exec.Cmd{Path: s.installer.executable}
	spec.LockFD = int(s.tree.Lock.Fd())
	h, err := s.installer.rewrite(cmd, spec)
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		h.close()
		return nil, nil, refusal(fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, s.installer.executable, err))
	}
	if err := h.shakeFirst(ctx, cmd); err != nil {
		h.close()
		return nil, nil, err
	}
	process.probed.Store(probeKey{executable: s.installer.executable, watch: true}, h.way)
	return h, cmd, nil
}

// follow waits for the supervisor's end, and replaces it unless that was wanted.
func (s *cgroupService) follow(h *handshake, cmd *exec.Cmd) {
	for {
		m, err := readMessage(h.channel)
		if err == nil && m.Op == supervisor.OpEmpty { // its last word
			_ = cmd.Wait()
		}
		if err != nil || m.Op == supervisor.OpEmpty {
			break
		}
	}
	s.mu.Lock()
	s.channel = nil
	s.starting = !s.closing
	replace := s.starting
	s.changed.Broadcast()
	s.mu.Unlock()
	h.channel.Close()
	if replace { // it has ended, or has lost its channel and is of no use
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	if replace {
		s.replaced(s.startSupervisor(context.Background())) // if it failed, the next Start tries
	}
}
