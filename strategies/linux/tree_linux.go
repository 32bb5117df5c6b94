package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// tree is a backend below its supervisor.
type tree struct {
	h        *handshake
	cmd      *exec.Cmd
	backends *backends.Set
	done     chan struct{}
	ended    chan struct{} // closed when state is known, or will never be
	endOnce  sync.Once

	mu         sync.Mutex
	begun      bool // the proxy runs
	isStarted  bool // the leader does, or did; before, the supervisor hears of its owner's end only
	leader     int
	supervisor proctree.Process
	reap       int  // a pidfd of the supervisor, -1 if another will reap it
	exited     bool // the leader
	pidfd      int  // of a leader that its supervisor may not outlive, or -1
	state      registry.ExitState
	stateKnown bool
	released   atomic.Bool
	lost       bool // proxy and supervisor ended without a report
	forced     int  // how many the supervisor had to kill
	wrapped    *wrapped
	asksOnce   bool        // with registry.LeaderExitTerm
	asked      atomic.Bool // to end, if asksOnce
	// clean, if not nil, ends and removes what the strategy made for this backend.
	clean func() error
}

func newTree(h *handshake, cmd *exec.Cmd, b *backends.Set) *tree {
	return &tree{h: h, cmd: cmd, backends: b, done: make(chan struct{}), ended: make(chan struct{}), reap: -1, pidfd: -1}
}

func (t *tree) started(m supervisor.Message) {
	if t.h.ended {
		t.leaderEnded(t.h.status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun, t.isStarted, t.leader = true, true, int(m.A)
	if t.h.owner.initFlags != 0 {
		t.supervisor, t.leader = initAndLeader(t.h.proxy)
		t.pidfd, _ = childPidfd(t.leader, t.supervisor)
		return // an init does not survive its proxy
	}
	defer func() { t.reap = adoptable(t.supervisor.PID) }()
	// The supervisor may have gone already, and its PID may be another's: then
	// nobody is below it.
	if s, err := proctree.Lookup(int(m.B)); err == nil && s.Name == argv0Name && (s.PPID == t.h.proxy || t.h.hasOutlivedProxy()) {
		t.supervisor = s
	}
}

// hasOutlivedProxy reports whether the supervisor was there a moment ago, and its proxy was
// not any more: nobody else holds the other end of the channel then.
func (h *handshake) hasOutlivedProxy() bool {
	if p, err := proctree.Lookup(h.proxy); err == nil && !p.Zombie {
		return false
	}
	open := false
	conn, err := h.channel.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, err := unix.Poll(fds, 0)
			open = err == nil && n == 0
		})
	}
	return err == nil && open
}

// adoptable returns a pidfd of the supervisor if it would become this process's
// child when its proxy is killed: then this process must reap it. It is -1 where
// PID 1 or a subreaper above does.
func adoptable(pid int) int {
	if pid == 0 {
		return -1
	}
	var subreaper int32
	_ = unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0)
	if subreaper == 0 && os.Getpid() != 1 {
		return -1
	}
	fd, _ := unix.PidfdOpen(pid, 0)
	return fd
}

// collect reaps a supervisor that this process has adopted. A wait for anything
// but this one pidfd could take a status that is os/exec's.
func (t *tree) collect() {
	t.mu.Lock()
	fd := t.reap
	t.reap = -1
	t.mu.Unlock()
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	for unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED, nil) == unix.EINTR {
		continue
	}
}

// initAndLeader finds the init below proxy and the leader below that, whose own
// numbers are those of their namespace: the leader is the first that it forked.
func initAndLeader(proxy int) (init proctree.Process, leader int) {
	below, err := proctree.Descendants(proxy)
	if err != nil || len(below) == 0 || below[0].PPID != proxy {
		return init, 0 // it has gone already
	}
	init = below[0]
	for _, p := range below[1:] {
		if p.PPID == init.PID && numberIn(init, p) == "2" {
			return init, p.PID
		}
	}
	return init, 0
}

// numberIn returns the PID of p in init's PID namespace, "" if it is not known: in
// NSpid of proc_pid_status(5), from the reader's namespace inwards, it has the place
// of init's own, which is the last.
func numberIn(init, p proctree.Process) string {
	depth, numbers := len(proctree.Status(init.PID, "NSpid")), proctree.Status(p.PID, "NSpid")
	if depth == 0 || len(numbers) < depth {
		return ""
	}
	return numbers[depth-1]
}

// follow reads what the supervisor reports until it has nothing left to report.
func (t *tree) follow() {
	defer t.collect()
	defer t.backends.Remove(t)
	defer close(t.done)
	defer t.noMoreKnown()
	if t.clean != nil {
		defer retry(t.clean)
	}
	defer t.h.channel.Close()
	defer t.h.untie()
	for {
		m, err := readMessage(t.h.channel)
		if err != nil {
			t.lose()
			return
		}
		switch m.Op {
		case supervisor.OpLeader:
			t.leaderEnded(m.A)
		case supervisor.OpEmpty:
			t.mu.Lock()
			t.forced = int(m.A)
			t.mu.Unlock()
			return
		case supervisor.OpReleased:
			t.released.Store(true)
			return
		}
	}
}

// Release implements [registry.Releaser]. The supervisor stays, as the parent of the tree.
func (t *tree) Release(ctx context.Context) error {
	op := fmt.Sprintf("release backend %d", t.PID())
	if t.h.owner.initFlags != 0 || t.h.owner.strategy != SubreaperName {
		return t.h.owner.error(op, fmt.Errorf("%w: the kernel ends its first process with this one; name linux/subreaper", errors.ErrUnsupported))
	}
	t.mu.Lock()
	started := t.isStarted
	t.mu.Unlock()
	if !started {
		return t.h.owner.error(op, errNotStarted)
	}
	if err := t.send(supervisor.OpRelease, 0); err != nil && !t.Released() {
		return err
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return t.h.owner.error(op, fmt.Errorf("its supervisor has not answered, and may yet let it go: %w", ctx.Err()))
	}
	if !t.Released() {
		return os.ErrProcessDone
	}
	return nil
}

// Released implements [registry.Releaser].
func (t *tree) Released() bool { return t.released.Load() }

// LeaderExited implements [registry.LeaderWatcher].
func (t *tree) LeaderExited() <-chan struct{} { return t.ended }

// Leftovers implements [registry.LeftoverReporter]: the supervisor counts whom it kills.
func (t *tree) Leftovers() (int, []registry.Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.forced, nil
}

// lose takes note that the supervisor has ended without a report.
func (t *tree) lose() {
	t.mu.Lock()
	t.exited = true
	begun, init := t.begun, t.supervisor
	if t.h.owner.initFlags == 0 {
		defer t.mu.Unlock()
		if t.lost = t.leader != 0 && t.clean == nil; t.lost { // else it was wrapped, and never started
			t.backends.Lose(fmt.Errorf("of backend %d: %w", t.leader, errLost))
		}
		return
	}
	t.mu.Unlock()
	// The kernel ends the tree with its init. The proxy may be stopped, and then has
	// not seen it.
	if begun && t.cmd != nil {
		_ = t.cmd.Process.Signal(syscall.SIGCONT)
	}
	awaitInit(init)
	t.mu.Lock()
	fd := t.pidfd
	t.mu.Unlock()
	if status, ok := exitStatus(fd); ok {
		t.leaderEnded(status)
	}
}

// awaitInit returns when nothing is left of a PID namespace whose init is ending. An
// exiting process closes its files first, then kills and reaps all that is in its
// namespace, and is a zombie only then: zap_pid_ns_processes in kernel/pid_namespace.c.
func awaitInit(init proctree.Process) {
	for pause := 100 * time.Microsecond; init.PID != 0; pause = min(2*pause, 100*time.Millisecond) {
		if now, err := proctree.Lookup(init.PID); err != nil || !now.Same(init) || now.Zombie {
			return
		}
		time.Sleep(pause)
	}
}

// errLost is about what was below a supervisor that was killed with its proxy.
var errLost = fmt.Errorf("%w, or may be: its supervisor and its proxy were killed, so nobody knows", registry.ErrLeft)

// PID implements [registry.Process].
func (t *tree) PID() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leader
}

// Done implements [registry.Process].
func (t *tree) Done() <-chan struct{} { return t.done }

func (t *tree) send(op supervisor.Op, arg uint32) error {
	m := supervisor.Message{Op: op, A: arg}
	_, err := t.h.channel.Write(unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize))
	if err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// Signal implements [registry.Process]. The supervisor delivers it: the leader
// is its child, whose PID cannot be reused behind its back.
func (t *tree) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return t.h.owner.error("signal", fmt.Errorf("%w: %v is no signal of this system", errors.ErrUnsupported, sig))
	}
	t.mu.Lock()
	over := t.exited || !t.isStarted
	t.mu.Unlock()
	if over {
		return os.ErrProcessDone
	}
	return t.send(supervisor.OpSignal, uint32(s))
}

// Kill implements [registry.Process].
func (t *tree) Kill() error {
	select {
	case <-t.done:
		return os.ErrProcessDone
	default:
	}
	t.mu.Lock()
	begun, leader := t.begun, t.leader
	t.mu.Unlock()
	if !begun { // wrapped, and not known to have been started: there will be nothing
		t.wrapped.end(registry.ErrClosed)
		return nil
	}
	if leader == 0 { // if it is being started: the owner's end is an order that is always heard
		conn, err := t.h.channel.SyscallConn()
		if err == nil {
			shutdownWrite(conn)
		}
		return nil
	}
	return t.send(supervisor.OpKill, 0)
}

// members returns what is alive below the supervisor.
func (t *tree) members() ([]proctree.Process, error) {
	t.mu.Lock()
	s := t.supervisor
	t.mu.Unlock()
	if now, err := proctree.Lookup(s.PID); s.PID == 0 || err != nil || !now.Same(s) {
		return nil, nil
	}
	ps, err := proctree.Descendants(s.PID)
	if errors.Is(err, os.ErrProcessDone) {
		return nil, nil
	}
	return proctree.Alive(ps), err
}

// Members implements [registry.Process].
func (t *tree) Members() ([]registry.Member, error) {
	t.mu.Lock()
	lost := t.lost
	t.mu.Unlock()
	if lost {
		return nil, errLost
	}
	ps, err := t.members()
	ms := make([]registry.Member, len(ps))
	for i, p := range ps {
		ms[i] = registry.Member{PID: p.PID, Name: p.Name}
	}
	return ms, err
}

// Terminate implements [registry.Process]: SIGTERM to every member.
func (t *tree) Terminate() error {
	t.mu.Lock()
	started := t.isStarted
	t.mu.Unlock()
	if !started {
		return nil
	}
	if t.asksOnce && t.asked.Swap(true) {
		return nil
	}
	_ = t.send(supervisor.OpEndAsked, 0) // or it has ended, and nobody is left
	ps, err := t.members()
	for _, p := range ps {
		if e := proctree.Signal(p, syscall.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = errors.Join(err, e)
		}
	}
	return err
}
