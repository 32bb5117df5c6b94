package supervisor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// RunSpec is what Run does beside starting Spec.
type RunSpec struct {
	Spec
	// Grace is how long after a SIGTERM the tree is ended by force; negative: never.
	Grace time.Duration
	// DieWithParent ends the tree when this process's parent ends, as a SIGTERM and
	// Grace do, or ParentEndGrace if that is negative.
	DieWithParent bool
	// ToGroup passes signals on to the leader's process group.
	ToGroup bool
	// Rewrite says as what a signal is passed on; 0 swallows it.
	Rewrite map[syscall.Signal]syscall.Signal
	// OnForced, if not nil, is told who had to be killed, perhaps by another goroutine,
	// up to what fits a pipe of which nobody reads.
	OnForced func(pid int, name string)
	// EndRest, if not nil, is called once the leader has exited and what it left is to be waited
	// for: with the supervisor's PID and its parent's. What is alive EndRestWithin later is
	// ended by force.
	EndRest       func(supervisor, parent int)
	EndRestWithin time.Duration
	// Started, if not nil, is called when the leader has been started, or a little later.
	Started func()
}

// NewRunSpec returns a RunSpec without a descriptor, as NewSpec does. It is not for
// the caller's stack, which would have to grow for it.
//
//go:noinline
func NewRunSpec() *RunSpec { return &RunSpec{Spec: *NewSpec()} }

// Result is how a Run ended.
type Result struct {
	Status unix.WaitStatus // the leader's
	Forced int             // processes that had to be killed
	Late   bool            // the kill deadline passed with processes left
	// CgroupRemoved: the leader's cgroup is no more. It may be so without being known.
	CgroupRemoved bool
}

// StartError says at which step a start failed.
type StartError struct {
	Step Step
	Err  error
}

// Error names step and cause.
func (e *StartError) Error() string { return fmt.Sprintf("%v: %v", e.Step, e.Err) }

// Unwrap returns the operating system's error.
func (e *StartError) Unwrap() error { return e.Err }

// ErrParentGone: the process that started this one has ended already.
var ErrParentGone = errors.New("the process that started this one has ended already")

// ErrGroupShared: the command would be in this process's own group.
var ErrGroupShared = errors.New("on a terminal the command is in the process group of the process that starts it, so that job control works, and a signal to that group would reach others; do without --group here, or start it through setsid")

// Run makes this process the proxy of one backend, whose streams are this
// process's own, and returns when the supervisor has ended. If the terminal has
// interrupted the leader, which died of it, SIGINT then has its default action.
//
// It takes over the process's signals and closes its descriptors, so it can be
// called once, by a program that does nothing else.
func Run(ctx context.Context, s *RunSpec) (Result, error) {
	parent, ppid := -1, os.Getppid()
	if s.DieWithParent {
		var err error
		if parent, err = watchParent(ppid); err != nil {
			return Result{}, err
		}
	}
	// As a subreaper this process takes over if the supervisor is killed. Not if
	// it came with children, see forkGuarded; an init's end is the kernel's.
	childless := !hasChildren()
	guarded := !childless && s.InitFlags == 0
	if childless {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	l := launch{
		spec: &s.Spec, ignored: s.Ignored, parent: parent, grace: s.Grace,
		exitWhenLate: true, mirrorStops: true, rewrite: s.Rewrite, rename: true,
		nameForced: s.OnForced != nil, guarded: guarded, toGroup: s.ToGroup,
	}
	l.groupOf, l.skipKernelSignal = runGroup()
	l.groupShared = l.groupOf > 0
	if s.ToGroup && l.groupShared {
		_ = unix.Close(parent)
		return Result{}, ErrGroupShared
	}
	if l.groupOf > 0 && s.newNumbers() {
		l.groupOf = -1 // inherited: the number means nothing in the namespace
	}
	if l.groupOf == 0 && !l.skipKernelSignal && hasTerminal() {
		l.spec.Attr.Foreground = true
		l.spec.Attr.ForegroundFD = terminalFD
	}
	if s.InitFlags != 0 {
		runtime.LockOSThread() // for good: an init is bound to the thread that forked it
	}
	l.nofile = originalNofile()
	c, err := l.start()
	defer unix.Close(parent)
	if err != nil {
		return Result{}, &StartError{StepFork, err}
	}
	if s.DieWithParent && parent < 0 && ppid != 0 {
		go pollParent(ppid)
	}
	return supervised(ctx, s, c, childless)
}

// pollParent tells the supervisor of the parent's end where no pidfd can: before
// Linux 5.3, or under a seccomp filter.
func pollParent(ppid int) {
	for os.Getppid() == ppid {
		time.Sleep(100 * time.Millisecond)
	}
	info := [entry.SiginfoSize / 4]int32{2: entry.SIParentGone}
	_, _ = unix.Write(raw.RelayWrite, unsafe.Slice((*byte)(unsafe.Pointer(&info)), entry.SiginfoSize))
}

// originalNofile returns the limit on open files that this process was started
// with, nothing if it is the same now. The Go runtime has raised the soft part, and
// it stays raised here.
func originalNofile() (original entry.Rlimit) {
	var raised entry.Rlimit
	prlimit(nil, &raised)
	restoreNofile()
	prlimit(&raised, &original)
	if original == raised {
		return entry.Rlimit{}
	}
	return original
}

// prlimit sets and gets this process's limit on open files, prlimit(2).
func prlimit(to, from *entry.Rlimit) {
	_, _, _ = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(from)), 0, 0)
}

// supervised follows the supervisor to its end.
//
// If it is childless, but for the supervisor, and not PID 1, then there is nobody else
// to wait for as long as the supervisor lives.
func supervised(ctx context.Context, s *RunSpec, c child, childless bool) (Result, error) {
	f := follower{inbox: inbox{fd: c.mirror}, onForced: s.OnForced}
	if s.EndRest != nil {
		f.leaderGone = func() {
			pid, parent := f.supervisor, os.Getpid()
			switch {
			case s.InitFlags != 0: // it knows its own number only
				pid = c.pid
			case !childless:
				parent = c.pid // the guardian
			}
			s.EndRest(pid, parent)
			time.AfterFunc(s.EndRestWithin, hangUp)
		}
	}
	if err := f.untilStarted(); err != nil {
		_, _ = unix.Wait4(c.pid, nil, unix.WALL, nil)
		_ = unix.Close(c.mirror)
		return Result{}, err // c.relay is for another start
	}
	if f.leader != 0 {
		if s.Started != nil {
			s.Started()
		}
		if !f.inbox.holdsEnd() {
			dropText() // first: that the streams are given up shows that all of this is done
			dropStreams()
		}
	}
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	var guardian unix.WaitStatus // how it has ended, if there is one
	switch {
	case childless && os.Getpid() != 1 && s.InitFlags == 0:
		f.untilEnded()
		waitSoon(c.pid)
	case childless && s.InitFlags == 0 && s.OnForced == nil && s.EndRest == nil: // what it is told can wait
		waitFor(c.pid)
		f.follow()
	default:
		if s.InitFlags != 0 {
			wakeByMessage(c.mirror)
		}
		over := make(chan struct{})
		go func() { defer close(over); f.follow() }()
		guardian = waitFor(c.pid)
		if !childless {
			hangUp() // if it was the guardian that was killed, the supervisor ends the tree
		}
		<-over
	}
	if !f.ended { // the supervisor was killed
		status := uint32(unix.SIGKILL)
		if childless {
			var empty bool
			status, f.result.Forced, empty = endOrphans(&s.Spec, f.leader)
			f.result.Late = !empty
		} else { // a PID namespace ends with its init
			f.result.Late = s.InitFlags == 0 && guardian != 0
		}
		if !f.mirrored {
			f.result.Status = unix.WaitStatus(status)
		}
	}
	f.endAsInterrupted(c.relay)
	return f.result, nil
}

// follower is what this process knows from its supervisor.
type follower struct {
	inbox                 inbox
	onForced              func(pid int, name string)
	leaderGone            func() // called once, if not nil, when the leader has exited before the rest
	leader, supervisor    int
	result                Result
	mirrored, interrupted bool
	ended                 bool // the supervisor has said its last word
}

// untilStarted reads messages until the leader has been started, which sets
// f.leader, or the supervisor has ended. The error is a *StartError.
func (f *follower) untilStarted() error {
	for f.leader == 0 {
		m, err := f.inbox.next()
		if err != nil {
			return nil // killed: there may be a leader
		}
		if m.Op == OpFailed {
			return &StartError{Step(m.A), unix.Errno(m.B)}
		}
		f.take(m)
	}
	return nil
}

// untilEnded reads messages until the supervisor's last, or until it was killed.
func (f *follower) untilEnded() {
	for !f.ended {
		m, err := f.inbox.next()
		if err != nil {
			return
		}
		f.take(m)
	}
}

// follow reads the supervisor's messages until it has ended.
func (f *follower) follow() {
	for {
		m, err := f.inbox.next()
		if err != nil {
			return
		}
		f.take(m)
	}
}

func (f *follower) take(m Message) {
	switch m.Op {
	case OpStarted:
		f.leader, f.supervisor = int(m.A), int(m.B)
	case OpMirror:
		f.result.Status, f.mirrored = unix.WaitStatus(m.A), true
		f.interrupted = m.B&MirrorInterrupted != 0
		if f.leaderGone != nil && m.B&MirrorEnds == 0 {
			f.leaderGone()
			f.leaderGone = nil
		}
	case OpForced:
		if rest, err := f.inbox.next(); err == nil && f.onForced != nil {
			f.onForced(int(m.A), nameIn(m, rest))
		}
	case OpEmpty:
		f.result.Forced, f.result.CgroupRemoved = int(m.A), m.B == 1
		f.ended = true
	case OpLate:
		f.ended = true
		f.result.Forced, f.result.Late = int(m.A), true
	case OpStopped:
		if m.A != 0 {
			f.stop()
		}
	}
}

// nameIn returns the name in an OpForced and its OpForcedName.
func nameIn(m, rest Message) string {
	var b []byte
	for _, word := range [...]uint32{m.B, m.C, rest.A, rest.B} {
		b = binary.NativeEndian.AppendUint32(b, word)
	}
	return string(bytes.TrimRight(b, "\x00"))
}

// stop stops this process until the supervisor has something to say. What
// continues it is followed by a message, at once or by way of the leader. The
// SIGCONT that came with the last message may be late, so it may be in vain.
func (f *follower) stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for wait := 0; f.quiet(wait); wait = 100 {
		// To this thread, so that it goes no further.
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	}
}

// quiet reports whether no message comes within so many milliseconds.
func (f *follower) quiet(ms int) bool {
	if !f.inbox.empty() {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(f.inbox.fd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(fds, ms); err != unix.EINTR {
			return n == 0
		}
	}
}

// wakeByMessage has the kernel send SIGCONT to this process when a message
// arrives, F_SETSIG in fcntl(2): it may be stopped then.
func wakeByMessage(mirror int) {
	fd := uintptr(mirror)
	_, _ = unix.FcntlInt(fd, unix.F_SETOWN, os.Getpid())
	_, _ = unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGCONT))
	_, _ = unix.FcntlInt(fd, unix.F_SETFL, unix.O_ASYNC)
}

// endAsInterrupted gives SIGINT its default action back if the leader died of it
// and the terminal had sent it: then the caller is to die of it, too, because a
// shell ends the loop around a command only if that died of the interrupt.
func (f *follower) endAsInterrupted(relay int) {
	status := f.result.Status
	if !status.Signaled() || status.Signal() != unix.SIGINT || entry.HandlerOf(int(unix.SIGINT)) == sigIgn {
		return
	}
	// The supervisor may have ended before it read what the terminal had sent, and
	// a busy host may not have run the handler yet: the leader got its signal first.
	var info [entry.SiginfoSize / 4]int32
	fds := []unix.PollFd{{Fd: int32(relay), Events: unix.POLLIN}}
	for !f.interrupted {
		if raw.SkipKernelSignal {
			_, _ = unix.Poll(fds, 100)
		}
		n, err := unix.Read(relay, unsafe.Slice((*byte)(unsafe.Pointer(&info)), entry.SiginfoSize))
		if err == unix.EINTR {
			continue
		}
		if n != entry.SiginfoSize {
			return
		}
		f.interrupted = raw.SkipKernelSignal && info[0] == int32(unix.SIGINT) && info[2] == entry.SIKernel
	}
	entry.SetHandler(int(unix.SIGINT), sigDfl)
}

// hangUp closes the relay, which the supervisor takes for this process's end. The
// number stays taken: the signal handlers write to it.
func hangUp() {
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, raw.RelayWrite, unix.O_CLOEXEC)
		_ = unix.Close(null)
	}
	if err != nil {
		_ = unix.Close(raw.RelayWrite)
	}
}

// inbox has the supervisor's messages, several of which may come at a time.
type inbox struct {
	fd     int
	buf    [8]Message
	at, to int // those in buf that next has not returned
}

// next returns the next message, and io.ErrUnexpectedEOF once the supervisor has ended.
func (b *inbox) next() (Message, error) {
	if b.at == b.to {
		n, err := readSome(b.fd, unsafe.Slice((*byte)(unsafe.Pointer(&b.buf)), unsafe.Sizeof(b.buf)))
		if err != nil {
			return Message{}, err
		}
		b.at, b.to = 0, n/MessageSize // no message is split: buf has room for whole ones
	}
	b.at++
	return b.buf[b.at-1], nil
}

// empty reports whether next would have to read.
func (b *inbox) empty() bool { return b.at == b.to }

// holdsEnd reports whether the supervisor's last word is here already.
func (b *inbox) holdsEnd() bool {
	return slices.ContainsFunc(b.buf[b.at:b.to], func(m Message) bool {
		return m.Op == OpMirror && m.B&MirrorEnds != 0
	})
}

// waitFor reaps children until pid has ended: as PID 1 this process adopts
// others, too.
func waitFor(pid int) (status unix.WaitStatus) {
	for {
		got, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if got == pid || err == unix.ECHILD {
			return status
		}
	}
}

// waitSoon is waitFor for a child that is about to end. On a host with little to do
// it takes longer to fall asleep and to be woken up than to see that end.
func waitSoon(pid int) {
	for range 200 {
		got, err := unix.Wait4(pid, nil, unix.WALL|unix.WNOHANG, nil)
		if got == pid || err == unix.ECHILD {
			return
		}
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // it may need this CPU
	}
	waitFor(pid)
}

// hasChildren reports whether this process has children: those of a shell that
// replaced itself by this program.
func hasChildren() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != unix.ECHILD
}

const terminalFD = 0

// hasTerminal reports whether standard input is this process's controlling terminal.
func hasTerminal() bool {
	_, err := unix.IoctlGetInt(terminalFD, unix.TIOCGPGRP)
	return err == nil
}

// runGroup decides the leader's process group. On a terminal it stays in this
// process's group, so that the terminal signals both and the shell's job control
// works; what the terminal has sent is then not forwarded. Where this process
// leads its session or is PID 1, and where there is no terminal, the leader
// leads a group of its own, so that no signal reaches it twice.
func runGroup() (groupOf int, skipKernelSignal bool) {
	sid, err := unix.Getsid(0)
	if err != nil || sid == os.Getpid() || os.Getpid() == 1 {
		return 0, false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	_ = unix.Close(tty)
	if group := unix.Getpgrp(); group > 0 {
		return group, true
	}
	return 0, false
}

// watchParent opens a pidfd of the parent process: of the process, where a
// parent-death signal would end us when the thread that forked us exits.
//
// Where none can be opened it returns -1, and what pollParent can do is left.
func watchParent(ppid int) (int, error) {
	if ppid == 0 { // in another PID namespace: nothing to refer to
		return -1, nil
	}
	// A parent that died before our first instruction leaves no PID to compare.
	// But a process is born into its parent's session, setsid(2): if it leads none
	// and its parent is in another, this is not the parent that it was born to.
	sid, _ := unix.Getsid(0)
	if its, err := unix.Getsid(ppid); sid != os.Getpid() && (err != nil || its != sid) {
		return -1, ErrParentGone
	}
	fd, err := unix.PidfdOpen(ppid, 0)
	if err == nil && os.Getppid() != ppid {
		_ = unix.Close(fd)
		return -1, ErrParentGone
	}
	switch {
	case err == unix.ESRCH, os.Getppid() != ppid:
		return -1, ErrParentGone
	case err == unix.ENOSYS, err == unix.EPERM, err == unix.EACCES:
		return -1, nil
	}
	return fd, os.NewSyscallError("pidfd_open", err)
}

// dropStreams gives up the standard streams and whatever else the leader has
// inherited, so that the leader's end of a pipe is the end of the pipe. What is
// this process's own is marked close-on-exec, what is the leader's cannot be.
func dropStreams() {
	if null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			_ = unix.Dup3(null, fd, 0)
		}
		_ = unix.Close(null)
	} else {
		for fd := range 3 {
			_ = unix.Close(fd)
		}
	}
	forOpenFiles(func(fd int) {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 && fd > 2 {
			_ = unix.Close(fd)
		}
	})
}

// dirents is not on the stack, which would have to grow for it.
var dirents [4096]byte

// forOpenFiles calls f for every descriptor of this process, proc_pid_fd(5). An
// os.File for the directory would cost more than all the rest, at every start.
func forOpenFiles(f func(fd int)) {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	for {
		n, err := unix.Getdents(dir, dirents[:])
		if err != nil || n <= 0 {
			return
		}
		_, _, names := unix.ParseDirent(dirents[:n], -1, nil)
		for _, name := range names {
			if fd, err := strconv.Atoi(name); err == nil && fd != dir {
				f(fd)
			}
		}
	}
}

// readSome is read(2) that no signal interrupts and for which the end is an error.
func readSome(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, err
		}
	}
}

// restoreNofile takes back the soft limit on open files that the Go runtime
// raised when this process started. The original value is known to package
// syscall alone, which restores it before an exec, even one that fails.
func restoreNofile() {
	_ = syscall.Exec("", nil, nil)
}

// endOrphans takes over from a supervisor that was killed: its children have
// become this process's. It returns the leader's wait status, how many had to be
// killed, and whether all of them were gone before the kill deadline. Only the main
// thread adopts, and only its children are listed: see find_child_reaper in Linux'
// kernel/exit.c.
func endOrphans(s *Spec, leader int) (status uint32, forced int, empty bool) {
	pid := strconv.Itoa(os.Getpid())
	children, err := unix.Open("/proc/self/task/"+pid+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		children = -1 // of another PID namespace, say: cgroup.kill can do without
	}
	defer unix.Close(children)
	raw.KillSignal = uintptr(s.KillSignal)
	return raw.EndOrphans(leader, children, s.KillDeadline.Milliseconds())
}

// newNumbers reports whether the leader is born in a PID namespace of its own.
func (s *Spec) newNumbers() bool {
	return (s.InitFlags|s.Attr.Cloneflags)&unix.CLONE_NEWPID != 0
}
