package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// leaderEnded takes note of the leader's wait status. The first report counts: a
// proxy that takes over may know less than the supervisor did.
func (t *tree) leaderEnded(status uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exited = true
	if t.stateKnown {
		return
	}
	ws := unix.WaitStatus(status)
	t.state, t.stateKnown = registry.ExitState{ExitCode: ws.ExitStatus()}, true
	if ws.Signaled() {
		t.state.Signal = int(ws.Signal())
	}
	t.endOnce.Do(func() { close(t.ended) })
}

// toldExit is what a supervisor is told. With registry.LeaderExitTerm it waits: whom to ask
// is for the owner to find out, who can look at the whole tree.
func toldExit(what registry.LeaderExit) supervisor.LeaderExit {
	if what == registry.LeaderExitTerm {
		return supervisor.LeaderExitWait
	}
	return supervisor.LeaderExit(what)
}

// ask has what the leader leaves asked to end, if opts say so.
func (t *tree) ask(opts registry.StartOptions) {
	if opts.OnLeaderExit != registry.LeaderExitTerm {
		return
	}
	t.asksOnce = true
	go func() {
		<-t.ended
		_ = t.Terminate() // whoever it has missed is ended by force
		select {
		case <-t.done:
		case <-time.After(opts.Grace):
			_ = t.Kill()
		}
	}()
}

// noMoreKnown takes note that nobody will report the leader's end any more.
func (t *tree) noMoreKnown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pidfd >= 0 {
		_ = unix.Close(t.pidfd)
		t.pidfd = -1
	}
	t.endOnce.Do(func() { close(t.ended) })
}

// ExitState implements [registry.ExitReporter].
func (t *tree) ExitState(ctx context.Context) (registry.ExitState, error) {
	fail := func(err error) (registry.ExitState, error) {
		return registry.ExitState{}, t.h.owner.error(fmt.Sprintf("exit state of %s (pid %d)", t.h.path, t.PID()), err)
	}
	select {
	case <-t.ended: // also if ctx is done
	default:
		select {
		case <-t.ended:
		case <-ctx.Done():
			return fail(fmt.Errorf("%w: %w", registry.ErrRunning, context.Cause(ctx)))
		}
	}
	t.mu.Lock()
	state, known, begun := t.state, t.stateKnown, t.begun
	t.mu.Unlock()
	switch {
	case known:
		return state, nil
	case !begun:
		return fail(errNotStarted)
	}
	return fail(errStateUnknown)
}

// errStateUnknown is about a leader whose supervisor was killed.
var errStateUnknown = fmt.Errorf("its supervisor was killed before it could report it, and the kernel does not tell (Linux 6.15 does): %w", unix.ENODATA)

// childPidfd returns a pidfd of a child of parent. The error is os.ErrProcessDone if there is
// none, and wraps errors.ErrUnsupported before Linux 5.3 and where it is refused.
func childPidfd(pid int, parent proctree.Process) (int, error) {
	if pid == 0 {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case err == unix.ENOSYS || err == unix.EPERM:
		return -1, fmt.Errorf("%w: %w", errors.ErrUnsupported, os.NewSyscallError("pidfd_open", err))
	case err == unix.ESRCH:
		return -1, os.ErrProcessDone
	case err != nil:
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	if p, err := proctree.Lookup(pid); err != nil || p.PPID != parent.PID { // the number may be another's by now
		_ = unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}

// Pidfd implements [registry.PidfdOpener].
func (t *tree) Pidfd() (*os.File, error) {
	t.mu.Lock()
	leader, supervisor, over := t.leader, t.supervisor, t.exited || !t.begun
	t.mu.Unlock()
	if over {
		return nil, os.ErrProcessDone
	}
	fd, err := childPidfd(leader, supervisor)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// pidfdOf returns a pidfd of a process that os/exec has started.
func pidfdOf(p *os.Process) (f *os.File, err error) {
	handleErr := p.WithHandle(func(handle uintptr) {
		var fd int
		if fd, err = unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			f = os.NewFile(uintptr(fd), "pidfd")
		}
		err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	})
	if errors.Is(handleErr, os.ErrNoHandle) {
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, handleErr)
	}
	if handleErr != nil {
		return nil, os.ErrProcessDone
	}
	return f, err
}

// exitStatus returns the wait status of a process that has been reaped by whomever, as
// PIDFD_INFO_EXIT has it since Linux 6.15.
func exitStatus(pidfd int) (status uint32, ok bool) {
	if pidfd < 0 {
		return 0, false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err := unix.IoctlPidfdInfo(pidfd, &info)
	return uint32(info.Exit_code), err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}
