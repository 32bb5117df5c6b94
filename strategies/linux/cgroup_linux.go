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

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/exitwatch"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Install implements [registry.Strategy].
func (cgroup) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	if err := ctx.Err(); err != nil {
		return nil, cgroupError("install", err)
	}
	s, err := acquireService(ctx, opts)
	if err != nil {
		return nil, cgroupError("install", err)
	}
	i := &cgroupInstallation{service: s}
	if i.cleanup, err = bind(CgroupName, opts, &i.backends); err != nil {
		s.release()
		return nil, err
	}
	forget := s.listen(opts.HelperReplaced)
	i.backends.AfterClose(func() {
		forget()
		s.release()
	})
	return i, nil
}

// Probe implements [registry.Prober]: it makes a cgroup, has a process born in
// it, and removes it.
func (cgroup) Probe(ctx context.Context) error {
	tree, err := makeTree()
	if err == nil {
		err = errors.Join(ctx.Err(), tree.Remove(), tree.Lock.Close())
	}
	return cgroupError("probe", err)
}

// cgroupError wraps err unless it is wrapped already.
func cgroupError(op string, err error) error {
	var own *registry.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &registry.Error{Op: op, Strategy: CgroupName, Err: err}
}

// makeTree makes a group below this process's own in which processes can be
// born. Everything that keeps it from that is an error that wraps
// errors.ErrUnsupported and says what to do.
func makeTree() (*cgroupfs.Tree, error) {
	own, err := cgroupfs.Own()
	if err != nil {
		return nil, err
	}
	if err := own.Writable(); err != nil {
		return nil, err
	}
	tree, err := cgroupfs.MakeTree(own)
	if err != nil {
		return nil, fmt.Errorf("%w: %w%s", errors.ErrUnsupported, err, cgroupAdvice(err))
	}
	if err := bornIn(tree.Group); err != nil {
		_ = tree.Remove()
		_ = tree.Lock.Close()
		return nil, bornError(tree.Group, err)
	}
	return tree, nil
}

// bornError is about a birth in g.
func bornError(g cgroupfs.Group, err error) error {
	if errors.Is(err, errDiedAtBirth) {
		err = fmt.Errorf("it was killed before it could execute anything (%w)", err)
	}
	return fmt.Errorf("%w: start a process in %s: %w%s", errors.ErrUnsupported, g, err, cgroupAdvice(err))
}

// cgroupAdvice says what to do about an error.
func cgroupAdvice(err error) string {
	switch {
	case errors.Is(err, unix.EROFS):
		return "; mount the container's cgroup file system writable"
	case errors.Is(err, unix.EACCES):
		return "; have the subtree delegated to this user (systemd: Delegate=yes)"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return "; the kernel (before 5.7) or the seccomp profile refuses clone3"
	case errors.Is(err, unix.EOPNOTSUPP):
		return "; the cgroup is threaded, run in a domain cgroup"
	case errors.Is(err, errDiedAtBirth):
		return "; the kernel (5.14 and later) does so where cgroup.kill was ever written to this process's cgroup: run in a new one"
	case errors.Is(err, unix.EBUSY):
		return "; this process's cgroup has controllers enabled for its children, run in a leaf cgroup"
	}
	return ""
}

// errDiedAtBirth: a process was killed before it had executed anything.
var errDiedAtBirth error = unix.ECANCELED

// bornIn tries a real birth in g. The child then fails to exec a file that is
// not there, which is the success: nothing runs, and no second exec is paid for.
func bornIn(g cgroupfs.Group) error {
	dir, err := os.Open(string(g))
	if err != nil {
		return err
	}
	defer dir.Close()
	pid, err := syscall.ForkExec(string(g)+"/no-such-file", []string{"probe"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	switch err {
	case syscall.ENOENT:
		return nil
	case nil: // nothing was there to be executed, so it did not come so far
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				return errDiedAtBirth
			}
		}
	}
	return err
}

// executed reports whether a child that was forked has come to its exec: the start of one
// that was killed before that succeeds, too. Where nobody can say, it has.
func executed(pid int) bool {
	ok, err := proctree.Executed(pid)
	return ok || err != nil
}

type cgroupInstallation struct {
	cleanup  registry.Cleanup
	service  *cgroupService
	backends backends.Set
}

func (i *cgroupInstallation) Cleanup() registry.Cleanup { return i.cleanup }

// SupervisorWay implements [registry.Supervised].
func (i *cgroupInstallation) SupervisorWay() string {
	return probeKey{executable: i.service.installer.executable, watch: true}.way()
}

func (i *cgroupInstallation) Close(ctx context.Context) error {
	return i.backends.Close(ctx, CgroupName)
}

func (i *cgroupInstallation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	op := "start " + cmd.Path
	if err := i.backends.Begin(op, CgroupName); err != nil {
		return nil, err
	}
	defer i.backends.End()
	if err := i.admit(cmd, opts); err != nil {
		return nil, registry.Refuse(cmd, err)
	}
	m, err := i.start(cmd, opts)
	if err != nil {
		return nil, err
	}
	i.backends.Add(m)
	go m.follow()
	return m, nil
}

// admit returns what speaks against a start of cmd.
func (i *cgroupInstallation) admit(cmd *exec.Cmd, opts registry.StartOptions) error {
	if err := reachable(cmd); err != nil {
		return err
	}
	for _, check := range [...]func() error{
		func() error {
			return opts.RefuseBreakaway("every backend is born in a cgroup that ends with this process")
		},
		func() error { return ownCgroup(cmd.SysProcAttr) },
		i.service.watched,
		i.service.mayStart,
	} {
		if err := check(); err != nil {
			return cgroupError("start "+cmd.Path, err)
		}
	}
	return nil
}

// start starts cmd in a group of its own. If it fails nothing is left.
func (i *cgroupInstallation) start(cmd *exec.Cmd, opts registry.StartOptions) (*member, error) {
	op := "start " + cmd.Path
	g, err := i.service.newGroup()
	if err != nil {
		if differs := sameAsThread(); differs != nil { // such as the mount namespace
			err = fmt.Errorf("%w: %w", registry.ErrNotPassed, differs)
		}
		return nil, cgroupError(op, err)
	}
	// Open for as long as the backend lives: the service may give up the rights it has now.
	killFD, _ := unix.Open(string(g)+"/cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0) // -1 before Linux 5.14
	if err := startIn(g, cmd); err != nil {
		_ = unix.Close(killFD)
		_ = g.End(time.Now().Add(registry.SupervisorKillDeadline))
		return nil, err
	}
	m := &member{group: g, killFD: killFD, process: cmd.Process, service: i.service, backends: &i.backends, onExit: opts.OnLeaderExit, grace: opts.Grace, pidfd: -1, done: make(chan struct{})}
	if toldExit(opts.OnLeaderExit) == supervisor.LeaderExitWait {
		m.pidfd, err = unix.PidfdOpen(cmd.Process.Pid, 0)
	}
	if err == nil {
		m.exited, err = exitwatch.Watch(cmd.Process)
	}
	if err != nil {
		_ = g.Kill()
		_ = cmd.Process.Kill() // which needs no descriptor, of which there may be none left
		abandon(cmd)
		_ = g.End(time.Now().Add(registry.SupervisorKillDeadline))
		_ = unix.Close(killFD)
		if m.pidfd >= 0 {
			_ = unix.Close(m.pidfd)
		}
		return nil, cgroupError(op, err)
	}
	return m, nil
}

// ownCgroup refuses attributes that contradict the strategy.
func ownCgroup(a *syscall.SysProcAttr) error {
	switch {
	case a == nil:
		return nil
	case a.UseCgroupFD:
		return fmt.Errorf("%w: SysProcAttr.UseCgroupFD: the backend is born in a cgroup of this strategy's; name linux/subreaper to choose the cgroup yourself", registry.ErrNotPassed)
	case a.Ptrace:
		return fmt.Errorf("%w: SysProcAttr.Ptrace: the tracer would be a thread that you cannot use", registry.ErrNotPassed)
	}
	return pdeathsigIsOurs(a)
}

// startIn starts cmd in g on the long-lived thread.
func startIn(g cgroupfs.Group, cmd *exec.Cmd) error {
	dir, err := unix.Open(string(g), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return cgroupError("start "+cmd.Path, &os.PathError{Op: "open", Path: string(g), Err: err})
	}
	defer unix.Close(dir)
	cmd.SysProcAttr = boundAttr(cmd)
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, dir
	var startErr error
	err = onThreadAs(func() { startErr = cmd.Start() })
	if err != nil {
		return cgroupError("start "+cmd.Path, fmt.Errorf("%w: %w", registry.ErrNotPassed, err))
	}
	if startErr == nil && !executed(cmd.Process.Pid) {
		abandon(cmd)
		return cgroupError("start "+cmd.Path, bornError(g, errDiedAtBirth))
	}
	return startErr
}

// member is a backend in its own cgroup.
type member struct {
	group    cgroupfs.Group
	killMu   sync.Mutex
	killFD   int // of group, until done; -1 before Linux 5.14
	service  *cgroupService
	process  *os.Process
	pidfd    int // the leader's, until done; -1 unless onExit is to wait, or to ask
	backends *backends.Set
	onExit   registry.LeaderExit
	grace    time.Duration   // with registry.LeaderExitTerm
	asked    atomic.Bool     // to end, with registry.LeaderExitTerm
	exited   <-chan struct{} // the leader
	ending   atomic.Bool     // all of it was asked to end, so nothing is let go
	done     chan struct{}
	// leftovers are who was there when the leader had exited, and was then ended.
	leftovers []registry.Member
}

// follow waits for the leader's end and sees to the rest. Done stays open for as
// long as something cannot die yet, or cannot be let go.
func (m *member) follow() {
	defer m.backends.Remove(m)
	defer close(m.done)
	defer m.closeKill()
	if m.pidfd >= 0 {
		defer unix.Close(m.pidfd)
	}
	m.service.refill()
	<-m.exited
	if m.group.Remove() == nil { // the common case: nobody was left
		return
	}
	switch {
	case m.onExit == registry.LeaderExitLeave && m.ending.Load():
		retry(func() error { return m.group.WaitEmpty(time.Time{}) })
	case m.onExit == registry.LeaderExitLeave:
		retry(m.letGo)
		return
	case m.onExit == registry.LeaderExitWait && !wasSIGKILLed(m.pidfd):
		retry(func() error { return m.group.WaitEmpty(time.Time{}) })
	case m.onExit == registry.LeaderExitTerm && !wasSIGKILLed(m.pidfd):
		m.leftovers, _ = m.Members()
		_ = m.Terminate() // whoever it has missed is ended by force
		_ = m.group.WaitEmpty(time.Now().Add(m.grace))
	default:
		m.leftovers, _ = m.Members()
	}
	retry(m.end)
}

// end kills what is left and waits for it.
func (m *member) end() error {
	deadline := time.Now().Add(registry.SupervisorKillDeadline)
	err := m.group.End(deadline)
	if errors.Is(err, os.ErrPermission) { // the service has given up the right to remove it, which the supervisor has
		if err = m.kill(); err == nil {
			err = m.group.WaitEmpty(deadline)
		}
	}
	return err
}

// kill kills the group, by the descriptor if this process may not open the file.
func (m *member) kill() error {
	err := m.group.Kill()
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	m.killMu.Lock()
	defer m.killMu.Unlock()
	if m.killFD < 0 {
		return err
	}
	if _, e := unix.Write(m.killFD, []byte("1")); e != nil && e != unix.ENODEV {
		return err
	}
	return nil
}

func (m *member) closeKill() {
	m.killMu.Lock()
	defer m.killMu.Unlock()
	_ = unix.Close(m.killFD)
	m.killFD = -1
}

// retry calls f until it succeeds, less and less often. What can be in the way,
// such as a lack of descriptors, passes.
func retry(f func() error) {
	for pause := 10 * time.Millisecond; f() != nil; pause = min(2*pause, time.Second) {
		time.Sleep(pause)
	}
}

// letGo moves what is left to the service's own cgroup, from which it came.
func (m *member) letGo() error {
	if err := m.group.MoveTo(m.service.own); err != nil {
		return err
	}
	return m.group.Remove()
}

// wasSIGKILLed reports whether a child that has exited died of SIGKILL, without
// collecting its status. If somebody has collected it already, as Cmd.Wait does
// at the same moment, only Linux 6.15 still knows; before, the answer is no.
func wasSIGKILLed(pidfd int) bool {
	for range 100 {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && info.Signo != 0 {
			const cldKilled = 2
			return info.Code == cldKilled && siginfoStatus(&info) == int32(unix.SIGKILL)
		}
		if killed, known := collectedSIGKILL(pidfd); known {
			return killed
		}
		time.Sleep(100 * time.Microsecond) // it is being collected
	}
	return false
}

// PID implements [registry.Process].
func (m *member) PID() int { return m.process.Pid }

// Done implements [registry.Process].
func (m *member) Done() <-chan struct{} { return m.done }

// LeaderExited implements [registry.LeaderWatcher].
func (m *member) LeaderExited() <-chan struct{} { return m.exited }

// Leftovers implements [registry.LeftoverReporter].
func (m *member) Leftovers() (int, []registry.Member) {
	select {
	case <-m.done:
		return len(m.leftovers), m.leftovers
	default:
		return 0, nil
	}
}

// Pidfd implements [registry.PidfdOpener].
func (m *member) Pidfd() (*os.File, error) { return pidfdOf(m.process) }

// Signal implements [registry.Process].
func (m *member) Signal(sig os.Signal) error {
	select {
	case <-m.exited:
		return os.ErrProcessDone
	default:
		return m.process.Signal(sig)
	}
}

// Terminate implements [registry.Process]: SIGTERM to every member.
func (m *member) Terminate() error {
	if m.onExit == registry.LeaderExitTerm && m.asked.Swap(true) {
		return nil
	}
	m.ending.Store(true)
	return m.group.Signal(unix.SIGTERM)
}

// Kill implements [registry.Process].
func (m *member) Kill() error {
	select {
	case <-m.done:
		return os.ErrProcessDone
	default:
		m.ending.Store(true)
		return m.kill()
	}
}

// Members implements [registry.Process].
func (m *member) Members() ([]registry.Member, error) {
	pids, err := m.group.PIDs()
	var ms []registry.Member
	for _, pid := range pids {
		if p, err := proctree.Lookup(pid); err == nil && !p.Zombie {
			ms = append(ms, registry.Member{PID: pid, Name: p.Name})
		}
	}
	return ms, err
}
