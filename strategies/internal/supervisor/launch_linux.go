package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// launch says what the proxy decides about a supervisor, beside the Spec.
type launch struct {
	spec    *Spec
	ignored uint64 // signals that the proxy ignores
	parent  int    // a pidfd whose end is the end of the tree, -1 if none
	// groupOf is the process group that the leader joins: its own if 0, the
	// proxy's if -1.
	groupOf          int
	groupShared      bool          // others are in that group, too
	grace            time.Duration // negative: never
	skipKernelSignal bool
	exitWhenLate     bool
	toGroup          bool // signals are for the leader's process group
	mirrorStops      bool
	rewrite          map[syscall.Signal]syscall.Signal // 0: not passed on
	// rename overwrites the supervisor's copy of the argument list with Argv0.
	rename     bool
	nameForced bool // say who had to be killed
	// guarded puts a guardian between the proxy and the supervisor.
	guarded bool
	// nofile is the leader's limit on open files, none if its max is 0.
	nofile entry.Rlimit
}

// child is a supervisor that has been forked.
type child struct {
	pid    int
	mirror int // reads OpStarted, OpFailed, OpMirror, …; ends with the supervisor
	relay  int // in contain run: reads the signals that the supervisor did not
}

// received is the pipe of the signals that contain run has received.
var received = struct{ read, write int }{-1, -1}

// raw is the one supervisor's state.
var raw = &entry.Raw

// start forks the supervisor. When it returns, everything the supervisor
// watches was open before the supervisor existed.
func (l *launch) start() (child, error) {
	if strings.HasPrefix(runtime.GOARCH, "mips") { // its struct sigaction and signal set differ
		return child{}, errors.ErrUnsupported
	}
	var fds fdSet
	r := raw
	r.Clear()              // contain run may have tried another strategy before
	r.LeftOut = leaveOut() // before the block is made
	spec := *l.spec
	var places []pidPlace
	spec.Env, places = forLeader(spec.Env)
	if err := describe(r, &spec); err != nil {
		return child{}, err
	}
	markPID(r, places)
	r.Parent = l.parent
	r.GroupOf, r.GroupInherited = l.groupOf, l.spec.newNumbers()
	r.ParentEndGrace = ParentEndGrace.Milliseconds()
	r.GroupShared = l.groupShared
	if l.grace >= 0 {
		r.Grace = l.grace.Milliseconds()
		r.ParentEndGrace = r.Grace
	}
	if err := setRewrite(r, l.rewrite); err != nil {
		return child{}, err
	}
	r.NameForced, r.Nofile, r.Guarded = l.nameForced, l.nofile, l.guarded
	r.SkipKernelSignal, r.ExitWhenLate, r.MirrorStops = l.skipKernelSignal, l.exitWhenLate, l.mirrorStops
	r.ToGroup = l.toGroup
	r.ProxyPID = os.Getpid()
	r.Proxy, _ = unix.PidfdOpen(r.ProxyPID, 0) // -1 before Linux 5.3
	r.Owner = r.Proxy                          // the proxy is the owner; of the relay somebody else may hold an end
	var self [32]byte
	n, _ := unix.Readlink("/proc/self", self[:])
	r.ForeignProc = string(self[:max(n, 0)]) != strconv.Itoa(os.Getpid())
	if r.InitFlags == 0 {
		r.ChildrenErrno = childrenErrno()
	}

	// A signal that came to contain run while one strategy failed is for the next.
	again := received.write >= 0
	if again {
		r.Relay, r.RelayWrite = received.read, received.write
	} else {
		r.Relay, r.RelayWrite = fds.pipe(unix.O_NONBLOCK)
	}
	mirror, mirrorWrite := fds.pipe(0)
	r.Mirror = mirrorWrite
	r.Status, r.StatusWrite = fds.pipe(unix.O_NONBLOCK) // see leaderExeced
	r.Signals = fds.signalfd(unix.SIGCHLD)
	r.Mapped, r.MappedWrite = -1, -1
	if r.InitFlags&unix.CLONE_NEWUSER != 0 {
		r.Mapped, r.MappedWrite = fds.pipe(0)
	}
	if fds.err != nil {
		fds.close()
		_ = unix.Close(r.Proxy)
		return child{}, os.NewSyscallError("open the supervisor's descriptors", fds.err)
	}
	for _, fd := range []int{r.Owner, r.Parent, r.Proxy, r.Channel, r.Relay, r.Mirror, r.Signals, r.Status, r.KillFD, l.spec.LockFD} {
		if !r.Retain(fd) {
			fds.close()
			_ = unix.Close(r.Proxy)
			return child{}, errors.New("more descriptors to keep than there is room for")
		}
	}
	r.MaxFD = highestFD() // after Retain
	if l.rename {
		start, n := argvArea()
		r.Argv0, r.Argv0Len = address(start), n
	}
	r.Reset = l.ignored
	if !again {
		relaySignals(r.RelayWrite, l.ignored)
	}
	received.read, received.write = r.Relay, r.RelayWrite

	pid := r.Fork()
	if r.Mask != 0 { // it is the leader's to block, and this process's to pass on
		entry.SetMask(r.Mask &^ relayedSet(l.ignored))
	}
	if pid > 0 && r.MappedWrite >= 0 {
		writeMaps(pid, r.MappedWrite)
	}
	for _, fd := range []int{r.Mirror, r.Status, r.StatusWrite, r.Signals, r.Proxy, r.Mapped, r.MappedWrite} {
		_ = unix.Close(fd)
	}
	if pid < 0 {
		_ = unix.Close(mirror) // not the relay: the signal handlers write to it
		return child{}, &os.SyscallError{Syscall: "fork the supervisor", Err: syscall.Errno(-pid)}
	}
	return child{pid: pid, mirror: mirror, relay: r.Relay}, nil
}

// childrenErrno says why processes have no list of their children, or 0. It asks about
// PID 1's, which the kernel has at hand, while one of this process's own would have to
// be made, and taken apart at its end.
func childrenErrno() uint32 {
	err := unix.Faccessat(unix.AT_FDCWD, "/proc/1/task/1/children", 0, 0)
	if err != nil { // others may be hidden, hidepid in proc(5)
		err = unix.Faccessat(unix.AT_FDCWD, "/proc/thread-self/children", 0, 0)
	}
	errno, _ := err.(unix.Errno)
	return uint32(errno)
}

// markPID has the leader put its PID where it belongs in its environment.
func markPID(r *entry.Supervisor, places []pidPlace) {
	for i, place := range places {
		if i < len(r.PIDTexts) {
			entry := *(*uintptr)(pointer(r.Envp + uintptr(place.entry*wordSize)))
			r.PIDTexts[i] = entry + uintptr(place.offset)
		}
	}
}

// setRewrite fills the table of what is passed on as what.
func setRewrite(r *entry.Supervisor, rules map[syscall.Signal]syscall.Signal) error {
	for sig := range r.Rewrite {
		r.Rewrite[sig] = uint8(sig)
	}
	for from, to := range rules {
		if from < 1 || from > entry.NumSig || to < 0 || to > entry.NumSig {
			return fmt.Errorf("pass on signal %d as %d: a signal is a number from 1 to %d", from, to, entry.NumSig)
		}
		r.Rewrite[from] = uint8(to)
	}
	return nil
}

// writeMaps maps this process's IDs to themselves in the user namespace of pid,
// and lets pid go on if that worked: user_namespaces(7) allows everybody one
// line, once setgroups is denied. Whatever the supervisor cannot do without it
// fails there, and is reported from there.
func writeMaps(pid, mapped int) {
	proc := "/proc/" + strconv.Itoa(pid)
	write := func(file, text string) bool {
		return os.WriteFile(proc+file, []byte(text), 0) == nil
	}
	uid, gid := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	_ = write("/setgroups", "deny") // missing before Linux 3.19
	if write("/uid_map", uid+" "+uid+" 1") && write("/gid_map", gid+" "+gid+" 1") {
		_, _ = unix.Write(mapped, []byte{1})
	}
}

// describe puts the backend's description into the form that execve takes.
func describe(r *entry.Supervisor, s *Spec) error {
	r.Machine.OnLeaderExit = s.OnLeaderExit
	r.Probe = s.Probe
	r.KillSignal, r.KillDeadline = uintptr(s.KillSignal), s.KillDeadline.Milliseconds()
	r.Ignored = s.Ignored
	r.CgroupFD, r.KillFD = s.CgroupFD, s.KillFD
	a := &s.Attr
	r.Attr.CloneFlags, r.InitFlags = uintptr(a.Cloneflags), uintptr(s.InitFlags)
	to := &r.Attr
	to.Credential, to.NoSetGroups = a.Credential, a.NoSetGroups
	to.UID, to.GID = uintptr(a.UID), uintptr(a.GID)
	to.Setsid, to.Unshared = a.Setsid, int(a.Unshareflags)
	to.Foreground, to.ForegroundFD = a.Foreground, a.ForegroundFD
	to.Setctty, to.Noctty, to.Ctty = a.Setctty, a.Noctty, a.Ctty
	to.NumCaps = copy(to.Caps[:], a.AmbientCaps)
	r.ShareMemory = entry.OwnStacks && mayShareMemory(a)
	return describeByPointer(r, s)
}

// address is that of memory which Go does not move: a block, or what the kernel made.
func address(p unsafe.Pointer) uintptr { return uintptr(p) }

// mayShareMemory: without a copy of its memory the leader starts sooner. Not so with another
// identity: that would take the memory of both out of the reach of its owner,
// PR_SET_DUMPABLE(2const). Nor in new namespaces, of which that of time refuses. Nor
// before Linux 5.16, where a leader that dies of a pending SIGQUIT before its exec
// takes all who share its memory along: "coredump: Limit coredumps to a single
// thread group".
func mayShareMemory(a *Attr) bool {
	return a.Cloneflags == 0 && a.Unshareflags == 0 && !a.Credential && len(a.AmbientCaps) == 0 && kernelAtLeast(5, 16)
}

// describeByPointer does so for what is of any length.
func describeByPointer(r *entry.Supervisor, s *Spec) error {
	const groupSize = int(unsafe.Sizeof(s.Attr.Groups[0]))
	size := taken(len(s.Attr.Groups) * groupSize)
	for _, list := range [...][]string{s.Args, s.Env, {s.Path, s.Dir, s.Attr.Chroot, s.Cgroup}} {
		n, err := listSize(list)
		if err != nil {
			return err
		}
		size += n
	}
	b, err := newBlock(size)
	if err != nil {
		return err
	}
	r.Argv, r.Envp, r.Path = address(b.list(s.Args)), address(b.list(s.Env)), address(b.text(s.Path))
	for _, t := range [...]struct {
		to   *uintptr
		from string
	}{{&r.Dir, s.Dir}, {&r.Chroot, s.Attr.Chroot}, {&r.Cgroup, s.Cgroup}} {
		if t.from != "" {
			*t.to = address(b.text(t.from))
		}
	}
	if n := len(s.Attr.Groups); n > 0 {
		groups := b.take(n * groupSize)
		r.Attr.Groups, r.Attr.NumGroups = address(groups), n
		copy(unsafe.Slice((*uint32)(groups), n), s.Attr.Groups)
	}
	return nil
}

// kernelRelease is the kernel's version, uname(2), "" if it cannot be had.
var kernelRelease = sync.OnceValue(func() string {
	u := new(unix.Utsname)
	_ = unix.Uname(u)
	return unix.ByteSliceToString(u.Release[:])
})

// kernelAtLeast compares the kernel's version.
func kernelAtLeast(major, minor int) bool {
	first, rest, _ := strings.Cut(kernelRelease(), ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(first)
	b, _ := strconv.Atoi(strings.TrimRight(second, "-+abcdefghijklmnopqrstuvwxyz"))
	return err == nil && (a > major || a == major && b >= minor)
}

// fdSet opens descriptors and remembers the first error.
type fdSet struct {
	open []int
	err  error
}

func (s *fdSet) pipe(flags int) (r, w int) {
	p := [2]int{-1, -1}
	if s.err == nil {
		s.err = unix.Pipe2(p[:], unix.O_CLOEXEC|flags)
		s.open = append(s.open, p[0], p[1])
	}
	return p[0], p[1]
}

func (s *fdSet) signalfd(sig unix.Signal) int {
	if s.err != nil {
		return -1
	}
	var set unix.Sigset_t
	set.Val[0] = 1 << (uint(sig) - 1)
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	s.err = err
	s.open = append(s.open, fd)
	return fd
}

func (s *fdSet) close() {
	for _, fd := range s.open {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// highestFD returns an upper bound of this process's descriptors, for kernels
// without close_range(2).
func highestFD() int {
	if unix.CloseRange(1<<30, 1<<30, 0) == nil {
		return 1<<31 - 1
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil || lim.Cur > 1<<16 {
		return 1 << 16
	}
	return int(lim.Cur)
}

// argvArea is where the kernel keeps the argument list that /proc/PID/cmdline
// shows. The runtime's os.Args point into it; should they ever not, nothing is
// overwritten.
func argvArea() (unsafe.Pointer, int) {
	if len(os.Args) == 0 || len(os.Args[0]) == 0 {
		return nil, 0
	}
	start := unsafe.Pointer(unsafe.StringData(os.Args[0]))
	n := 0
	for _, a := range os.Args {
		if len(a) == 0 || unsafe.Pointer(unsafe.StringData(a)) != unsafe.Add(start, n) {
			break
		}
		n += len(a) + 1
	}
	return start, n
}
