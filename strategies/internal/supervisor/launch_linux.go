package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launch says what the proxy decides about a supervisor, beside the Spec.
type launch struct {
	spec    *Spec
	ignored uint64 // signals that the proxy ignores
	channel int    // to the owner, -1 if the proxy is the owner
	parent  int    // a pidfd whose end is the end of the tree, -1 if none
	// groupOf is the process group that the leader joins: its own if 0, the
	// proxy's if -1.
	groupOf          int
	groupShared      bool          // others are in that group, too
	grace            time.Duration // negative: never
	skipKernelSignal bool
	exitWhenLate     bool
	mirrorStops      bool
	rewrite          map[syscall.Signal]syscall.Signal // 0: not passed on
	// rename overwrites the supervisor's copy of the argument list with Argv0.
	rename     bool
	nameForced bool // say who had to be killed
	// guarded puts a guardian between the proxy and the supervisor.
	guarded bool
	// nofile is the leader's limit on open files, none if its max is 0.
	nofile rlimit
}

// child is a supervisor that has been forked.
type child struct {
	pid    int
	mirror int // reads OpStarted, OpFailed, OpMirror, …; ends with the supervisor
	relay  int // in contain run: reads the signals that the supervisor did not
}

// received is the pipe of the signals that contain run has received.
var received = struct{ read, write int }{-1, -1}

// raw is the one supervisor's state. A proxy has one backend.
var raw rawState

// start forks the supervisor. When it returns, everything the supervisor
// watches was open before the supervisor existed.
func (l *launch) start() (child, error) {
	if strings.HasPrefix(runtime.GOARCH, "mips") { // its struct sigaction and signal set differ
		return child{}, errors.ErrUnsupported
	}
	var fds fdSet
	r := &raw
	*r = rawState{}        // contain run may have tried another strategy before
	r.leftOut = leaveOut() // before the block is made
	spec := *l.spec
	var places []pidPlace
	if l.channel < 0 {
		spec.Env, places = forLeader(spec.Env)
	}
	if err := r.describe(&spec); err != nil {
		return child{}, err
	}
	r.markPID(places)
	r.channel, r.parent, r.owner = l.channel, l.parent, l.spec.OwnerFD
	r.groupOf, r.groupInherited = l.groupOf, l.spec.newNumbers()
	r.groupShared = l.groupShared
	r.grace, r.parentEndGrace, r.endWithin = -1, ParentEndGrace.Milliseconds(), -1
	if l.grace >= 0 {
		r.grace = l.grace.Milliseconds()
		r.parentEndGrace = r.grace
	}
	if err := r.setRewrite(l.rewrite); err != nil {
		return child{}, err
	}
	r.nameForced, r.nofile, r.guarded = l.nameForced, l.nofile, l.guarded
	r.skipKernelSignal, r.exitWhenLate, r.mirrorStops = l.skipKernelSignal, l.exitWhenLate, l.mirrorStops
	r.proxyPID = os.Getpid()
	r.proxy, _ = unix.PidfdOpen(r.proxyPID, 0) // -1 before Linux 5.3
	if l.channel < 0 {                         // the proxy is the owner; of the relay somebody else may hold an end
		r.owner = r.proxy
	}
	r.supervisorPidfd, r.children = -1, -1
	var self [32]byte
	n, _ := unix.Readlink("/proc/self", self[:])
	r.foreignProc = string(self[:max(n, 0)]) != strconv.Itoa(os.Getpid())
	if r.initflags == 0 {
		r.childrenErrno = childrenErrno()
	}

	// A signal that came to contain run while one strategy failed is for the next.
	again := l.channel < 0 && received.write >= 0
	if again {
		r.relay, r.relayWrite = received.read, received.write
	} else {
		r.relay, r.relayWrite = fds.pipe(unix.O_NONBLOCK)
	}
	mirror, mirrorWrite := fds.pipe(0)
	r.mirror = mirrorWrite
	r.status, r.statusWrite = fds.pipe(0)
	r.signals = fds.signalfd(unix.SIGCHLD)
	r.mapped, r.mappedWrite = -1, -1
	if r.initflags&unix.CLONE_NEWUSER != 0 {
		r.mapped, r.mappedWrite = fds.pipe(0)
	}
	if fds.err != nil {
		fds.close()
		_ = unix.Close(r.proxy)
		return child{}, os.NewSyscallError("open the supervisor's descriptors", fds.err)
	}
	for _, fd := range []int{r.owner, r.parent, r.proxy, r.channel, r.relay, r.mirror, r.signals, r.status, r.killFD, l.spec.LockFD} {
		r.retain(fd)
	}
	if r.nkeep >= len(r.keep) { // retain may have passed over one
		fds.close()
		_ = unix.Close(r.proxy)
		return child{}, errors.New("more descriptors to keep than there is room for")
	}
	r.maxFD = highestFD()
	if l.rename {
		r.argv0, r.argv0Len = argvArea()
	}
	r.reset = l.ignored
	if !again {
		relaySignals(r.relayWrite, l.ignored)
	}
	if l.channel < 0 {
		received.read, received.write = r.relay, r.relayWrite
	}

	pid := r.fork()
	if pid > 0 && r.mappedWrite >= 0 {
		writeMaps(pid, r.mappedWrite)
	}
	relay := r.relay
	if l.channel >= 0 {
		_ = unix.Close(relay)
		relay = -1
	}
	for _, fd := range []int{r.mirror, r.status, r.statusWrite, r.signals, r.proxy, r.mapped, r.mappedWrite} {
		_ = unix.Close(fd)
	}
	if pid < 0 {
		_ = unix.Close(mirror) // not the relay: the signal handlers write to it
		return child{}, &os.SyscallError{Syscall: "fork the supervisor", Err: syscall.Errno(-pid)}
	}
	return child{pid: pid, mirror: mirror, relay: relay}, nil
}

// childrenErrno says why processes have no list of their children, or 0. It asks about
// PID 1's, which the kernel has at hand, while one of this process's own would have to
// be made, and taken apart at its end.
func childrenErrno() unix.Errno {
	err := unix.Faccessat(unix.AT_FDCWD, "/proc/1/task/1/children", 0, 0)
	if err != nil { // others may be hidden, hidepid in proc(5)
		err = unix.Faccessat(unix.AT_FDCWD, "/proc/thread-self/children", 0, 0)
	}
	errno, _ := err.(unix.Errno)
	return errno
}

// setRewrite fills the table of what is passed on as what.
func (r *rawState) setRewrite(rules map[syscall.Signal]syscall.Signal) error {
	for sig := range r.rewrite {
		r.rewrite[sig] = uint8(sig)
	}
	for from, to := range rules {
		if from < 1 || from > numSig || to < 0 || to > numSig {
			return fmt.Errorf("pass on signal %d as %d: a signal is a number from 1 to %d", from, to, numSig)
		}
		r.rewrite[from] = uint8(to)
	}
	return nil
}

// fork blocks every signal of this thread, so that none of the Go runtime's
// handlers can run in the child, and forks. The child never returns here. Nothing
// in here can move this goroutine to another thread.
//
//go:nosplit
//go:norace
func (r *rawState) fork() int {
	r.mask = setMask(^uint64(0))
	pid := -1
	if ownStacks {
		pid = r.forkOntoStack()
	} else {
		r.reset = ^uint64(0)
		if pid = fork(r.initflags); pid == 0 {
			r.supervise()
		}
	}
	setMask(r.mask)
	return pid
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
func (r *rawState) describe(s *Spec) error {
	r.machine.OnLeaderExit = s.OnLeaderExit
	r.probe = s.Probe
	r.killSignal, r.killDeadline = uintptr(s.KillSignal), s.KillDeadline.Milliseconds()
	r.ignored = s.Ignored
	r.cgroupFD, r.killFD = s.CgroupFD, s.KillFD
	a := &s.Attr
	r.cloneflags, r.initflags = uintptr(a.Cloneflags), uintptr(s.InitFlags)
	to := &r.attr
	to.credential, to.noSetGroups = a.Credential, a.NoSetGroups
	to.uid, to.gid = uintptr(a.UID), uintptr(a.GID)
	to.setsid, to.unshared = a.Setsid, int(a.Unshareflags)
	to.foreground, to.foregroundFD = a.Foreground, a.ForegroundFD
	to.setctty, to.noctty, to.ctty = a.Setctty, a.Noctty, a.Ctty
	to.ncaps = copy(to.caps[:], a.AmbientCaps)
	// Without a copy of its memory the leader starts sooner. Not so with another
	// identity: that would take the memory of both out of the reach of its owner,
	// PR_SET_DUMPABLE(2const). Nor in new namespaces, of which that of time refuses. Nor
	// before Linux 5.16, where a leader that dies of a pending SIGQUIT before its exec
	// takes all who share its memory along: "coredump: Limit coredumps to a single
	// thread group".
	r.shareMemory = ownStacks && kernelAtLeast(5, 16) && r.cloneflags == 0 && a.Unshareflags == 0 && !a.Credential && len(a.AmbientCaps) == 0
	return r.describeByPointer(s)
}

// describeByPointer does so for what is of any length.
func (r *rawState) describeByPointer(s *Spec) error {
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
	r.argv, r.envp, r.path = b.list(s.Args), b.list(s.Env), b.text(s.Path)
	for _, t := range [...]struct {
		to   *unsafe.Pointer
		from string
	}{{&r.dir, s.Dir}, {&r.chroot, s.Attr.Chroot}, {&r.cgroup, s.Cgroup}} {
		if t.from != "" {
			*t.to = b.text(t.from)
		}
	}
	if n := len(s.Attr.Groups); n > 0 {
		r.attr.groups, r.attr.ngroups = b.take(n*groupSize), n
		copy(unsafe.Slice((*uint32)(r.attr.groups), n), s.Attr.Groups)
	}
	return nil
}

// markPID has the leader put its PID where it belongs in its environment.
func (r *rawState) markPID(places []pidPlace) {
	for i, place := range places {
		if i < len(r.pidTexts) {
			entry := *(*unsafe.Pointer)(unsafe.Add(r.envp, place.entry*wordSize))
			r.pidTexts[i] = unsafe.Add(entry, place.offset)
		}
	}
}

// utsname is not on the stack, which would have to grow for it.
var utsname unix.Utsname

// kernelAtLeast compares the kernel's version, uname(2).
func kernelAtLeast(major, minor int) bool {
	u := &utsname
	if unix.Uname(u) != nil {
		return false
	}
	first, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
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
