package windows

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

// killedExitCode is what os.Process.Kill gives a process as well.
const killedExitCode = 1

// abandonPatience bounds how long a failed Start waits for the goroutines of
// exec.Cmd; one that reads the caller's Stdin may never end.
const abandonPatience = time.Second

// backend is a started command and its job.
type backend struct {
	in           *installation
	onLeaderExit registry.LeaderExit
	key          uintptr // of the job's messages
	pid          int
	flags        uint32      // the leader's creation flags
	cancelled    atomic.Bool // the command's context has ended
	done         chan struct{}

	mu         sync.Mutex
	job        windows.Handle // 0 once done
	leader     windows.Handle // held until done, so that its PID is not used again
	leaderGone bool
	birth      bool // the leader is being created in the job
	ending     bool // the end of all was ordered
}

// newBackend makes the job, with its messages going to the watcher.
func newBackend(in *installation, opts registry.StartOptions) (*backend, error) {
	job, err := newJob(backendLimits, backendJobName(in.cleanup))
	if err != nil {
		return nil, err
	}
	key, err := process.watcher.associate(job)
	if err != nil {
		windows.CloseHandle(job)
		return nil, fmt.Errorf("%w: completion port: %w", registry.ErrJobCreate, err)
	}
	return &backend{in: in, onLeaderExit: opts.OnLeaderExit, key: key, job: job, done: make(chan struct{})}, nil
}

// backendJobName returns the name by which contain ps finds a backend's job, ""
// where it is to have none: whoever opens it keeps it open for a moment, which
// must not matter to kill-on-close. It does not where all backends are in the
// service's job as well, which has no name.
func backendJobName(bound registry.Cleanup) string {
	created, err := jobobject.Created(windows.CurrentProcess())
	if err != nil || bound != registry.CleanupWindowsKillOnJobClose {
		return ""
	}
	return jobobject.NewName(os.Getpid(), created).String()
}

// refused says what in attr contradicts containment.
func refused(attr *syscall.SysProcAttr) error {
	switch {
	case attr == nil:
		return nil
	case attr.CreationFlags&windows.CREATE_SUSPENDED != 0:
		return fmt.Errorf("%w: SysProcAttr.CreationFlags has CREATE_SUSPENDED: a backend is created suspended, and resumed once it is in its job; remove the flag", registry.ErrNotPassed)
	case attr.CreationFlags&windows.CREATE_BREAKAWAY_FROM_JOB != 0:
		return fmt.Errorf("%w: SysProcAttr.CreationFlags has CREATE_BREAKAWAY_FROM_JOB: to leave containment, set StartOptions.Breakaway", registry.ErrNotPassed)
	}
	return nil
}

// startSuspended starts cmd with no instruction run, where it could not be born in
// its job: PROC_THREAD_ATTRIBUTE_JOB_LIST cannot be passed through package syscall
// (Go 1.26).
func (b *backend) startSuspended(cmd *exec.Cmd) error {
	cancel := cmd.Cancel
	if cmd.SysProcAttr != nil {
		b.flags = cmd.SysProcAttr.CreationFlags
	}
	if cancel != nil && b.onLeaderExit == registry.LeaderExitWait {
		// The one way to know that the leader's end was ordered.
		cmd.Cancel = func() error {
			b.cancelled.Store(true)
			return cancel()
		}
	}
	err := startWith(cmd, windows.CREATE_SUSPENDED)
	if err != nil {
		cmd.Cancel = cancel
	}
	return err
}

// startWith starts cmd with more creation flags.
func startWith(cmd *exec.Cmd, flags uint32) error {
	attr := &syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		*attr = *cmd.SysProcAttr
	}
	attr.CreationFlags |= flags
	cmd.SysProcAttr = attr
	return cmd.Start()
}

// contain puts the suspended leader into the job and lets it run. If it fails,
// no instruction of it has run.
func (b *backend) contain(cmd *exec.Cmd) error {
	b.pid = cmd.Process.Pid
	if err := b.holdLeader(cmd.Process); err != nil {
		return fmt.Errorf("%w: handle of PID %d: %w", registry.ErrJobAssign, b.pid, err)
	}
	if err := sys.assign(b.job, b.leader); err != nil {
		return b.assignError(err)
	}
	if err := b.in.backends.Admit(b); err != nil {
		return err
	}
	return b.resume()
}

// resume lets the leader run.
func (b *backend) resume() error {
	if err := sys.resume(b.leader); err != nil {
		if jobobject.Exited(b.leader) {
			return fmt.Errorf("PID %d was ended before its first instruction: %w", b.pid, os.ErrProcessDone)
		}
		return fmt.Errorf("NtResumeProcess of PID %d: %w", b.pid, err)
	}
	return nil
}

// holdLeader keeps a handle of our own, which cmd.Wait does not close.
func (b *backend) holdLeader(p *os.Process) error {
	var err error
	withErr := p.WithHandle(func(h uintptr) {
		self := windows.CurrentProcess()
		err = windows.DuplicateHandle(self, windows.Handle(h), self, &b.leader, 0, false, windows.DUPLICATE_SAME_ACCESS)
	})
	return errors.Join(withErr, err)
}

// assignError tells the two meanings of access-denied apart: a process that has
// exited cannot be assigned either.
func (b *backend) assignError(err error) error {
	switch {
	case jobobject.Exited(b.leader):
		return fmt.Errorf("%w: PID %d was ended before its first instruction (%w): %w", registry.ErrJobAssign, b.pid, os.ErrProcessDone, err)
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return fmt.Errorf("%w: PID %d is in a job in which none can be nested; start this program outside of it: AssignProcessToJobObject: %w", registry.ErrJobAssign, b.pid, err)
	}
	return fmt.Errorf("%w: AssignProcessToJobObject of PID %d: %w", registry.ErrJobAssign, b.pid, err)
}

// abandon ends a leader that has not run, and what exec.Cmd holds for it.
func abandon(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("and it was not ended: PID %d: %w", cmd.Process.Pid, err)
	}
	waited := make(chan struct{})
	go func() {
		cmd.Wait() // its error says that we killed it
		close(waited)
	}()
	select {
	case <-waited:
	case <-time.After(abandonPatience):
	}
	return nil
}

// step brings the backend up to date and reports whether it is done. Messages
// may get lost, so each is only the cause to look; leaderExited is believed,
// because the message may come just before the handle is signalled.
func (b *backend) step(leaderExited, recheck bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.job == 0 {
		return true
	}
	order := recheck && b.ending // once more, in case a process was born meanwhile
	if !b.leaderGone && (leaderExited || jobobject.Exited(b.leader)) {
		b.leaderGone = true
		if b.onLeaderExit == registry.LeaderExitLeave && !b.ending {
			b.letGo()
			return true
		}
		order = b.onLeaderExit != registry.LeaderExitWait || b.cancelled.Load()
	}
	if n, err := jobobject.Active(b.job); err == nil && n == 0 {
		b.finishLocked()
		return true
	}
	if order {
		b.terminate() // an error is met again at the next recheck
	}
	return false
}

// terminate orders the end of all members. The caller holds b.mu.
func (b *backend) terminate() error {
	b.ending = true
	if b.birth {
		return nil // setBirth does it
	}
	return sys.terminate(b.job, killedExitCode)
}

// letGo lets what is left live on. The caller holds b.mu.
func (b *backend) letGo() {
	process.watcher.dissociate(b.job)
	if err := sys.setLimits(b.job, releasedLimits); err != nil {
		b.job = 0 // left open on purpose: closing it would end them
	}
	b.finishLocked()
}

func (b *backend) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finishLocked()
}

// finishLocked closes the handles; kill-on-close ends what a failed start left.
func (b *backend) finishLocked() {
	for _, h := range []*windows.Handle{&b.job, &b.leader} {
		if *h != 0 {
			windows.CloseHandle(*h)
			*h = 0
		}
	}
	close(b.done)
	b.in.backends.Remove(b)
}

// PID implements registry.Process.
func (b *backend) PID() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pid
}

// Done implements registry.Process.
func (b *backend) Done() <-chan struct{} { return b.done }

// Signal implements registry.Process.
func (b *backend) Signal(sig os.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.job == 0 || b.leaderGone || jobobject.Exited(b.leader) {
		return os.ErrProcessDone
	}
	switch sig {
	case os.Kill:
		// A leader that is killed takes the rest along, unless they are to be left.
		if b.onLeaderExit == registry.LeaderExitLeave {
			return b.failed("kill leader", windows.TerminateProcess(b.leader, killedExitCode))
		}
		return b.failed("kill", b.terminate())
	case os.Interrupt, syscall.SIGTERM:
		return b.failed("signal", b.ctrlBreak())
	}
	return b.failed("signal", fmt.Errorf("%v does not exist on Windows: %w", sig, errors.ErrUnsupported))
}

// Terminate implements registry.Process.
func (b *backend) Terminate() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.job == 0 {
		return nil
	}
	return b.failed("terminate", b.ctrlBreak())
}

// Kill implements registry.Process.
func (b *backend) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.job == 0 {
		return nil
	}
	return b.failed("kill", b.terminate())
}

// ctrlBreak sends CTRL_BREAK to the backend's process group. It is refused
// where the group is not the backend's own or not on this console:
// GenerateConsoleCtrlEvent reaches none but the caller's console.
func (b *backend) ctrlBreak() error {
	const otherConsole = windows.CREATE_NEW_CONSOLE | windows.CREATE_NO_WINDOW | windows.DETACHED_PROCESS
	noWay := func(why string, args ...any) error {
		return fmt.Errorf("no way to ask it to end, only force: "+why+": %w", append(args, errors.ErrUnsupported)...)
	}
	if b.flags&windows.CREATE_NEW_PROCESS_GROUP == 0 {
		return noWay("not started with CREATE_NEW_PROCESS_GROUP, so CTRL_BREAK would reach this process too")
	}
	if b.flags&otherConsole != 0 {
		return noWay("started away from this process's console")
	}
	if err := sys.hasConsole(); err != nil {
		return noWay("this process has no console: %w", err)
	}
	if err := sys.ctrlEvent(windows.CTRL_BREAK_EVENT, uint32(b.pid)); err != nil {
		return noWay("GenerateConsoleCtrlEvent(CTRL_BREAK): %w", err)
	}
	return nil
}

// Members implements registry.Process.
func (b *backend) Members() ([]registry.Member, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.job == 0 {
		return nil, nil
	}
	pids, err := jobobject.ProcessIDs(b.job)
	if err != nil {
		return nil, b.failed("list members", err)
	}
	var members []registry.Member
	for _, pid := range pids {
		if m, ok := b.member(pid); ok {
			members = append(members, m)
		}
	}
	return members, nil
}

// member looks at a process of the list, which may have gone by now and its PID
// been used again. One that may not be opened is listed without a name.
func (b *backend) member(pid uint32) (registry.Member, bool) {
	m := registry.Member{PID: int(pid)}
	// Windows is content with PROCESS_QUERY_LIMITED_INFORMATION, Wine 10 is not.
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION|windows.SYNCHRONIZE, false, pid)
	if err != nil {
		return m, errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	defer windows.CloseHandle(h)
	if in, err := sys.inJob(h, b.job); err != nil || !in || jobobject.Exited(h) {
		return m, false
	}
	if path := jobobject.ImageName(h); path != "" {
		m.Name = filepath.Base(path)
	}
	return m, true
}

func (b *backend) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return failed(fmt.Sprintf("%s backend with PID %d", op, b.pid), err)
}
