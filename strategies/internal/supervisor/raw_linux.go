package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawState is all that the supervisor and the backend's first steps touch. The
// proxy fills it in before it forks; from then on no pointer in it is written.
type rawState struct {
	machine Machine

	// The backend.
	probe            bool
	guarded          bool           // a guardian is between the proxy and the supervisor
	path             unsafe.Pointer // these are into a block
	argv, envp       unsafe.Pointer
	pidTexts         [4]unsafe.Pointer // where in the environment the leader's PID belongs
	dir, chroot      unsafe.Pointer
	cgroup           unsafe.Pointer // path of the leader's cgroup, nil if there is none
	attr             rawAttr
	mask             uint64 // signals that the backend has blocked
	ignored          uint64 // signals that the backend ignores
	reset            uint64 // signals that may not have their default action
	groupOf          int    // process group that the leader joins: its own if 0, none if -1
	groupInherited   bool   // the leader has its group from the supervisor
	groupShared      bool   // that group is not the leader's alone
	foreignProc      bool   // /proc is that of another PID namespace
	childrenErrno    unix.Errno
	leftOut          bool   // Go's memory, see leaveOut
	endContinues     bool   // this process's end continues the proxy, see forkOntoStack
	shareMemory      bool   // of the supervisor with the leader, until the exec
	nofile           rlimit // for the leader, if its max is not 0
	cloneflags       uintptr
	initflags        uintptr // the supervisor is the init of a PID namespace
	supervisorPID    int
	supervisorPidfd  int
	killSignal       uintptr
	killDeadline     int64 // milliseconds
	grace            int64 // milliseconds after a forwarded SIGTERM, negative: never
	parentEndGrace   int64 // milliseconds after the end of the parent, or of the terminal
	skipKernelSignal bool  // the terminal has signalled the leader itself
	exitWhenLate     bool
	mirrorStops      bool // when the leader stops, so does the proxy
	// rewrite is as what each signal is passed on: itself, another, or 0 for not at all.
	rewrite [numSig + 1]uint8

	// Descriptors, -1 where there is none.
	owner, parent int // poll readable when that process is gone
	proxy         int // a pidfd
	proxyPID      int
	channel       int // to the owner
	relay         int // siginfo records from the proxy; its end is the proxy's end
	relayWrite    int
	mirror        int // to the proxy
	signals       int // signalfd for SIGCHLD
	children      int // /proc/thread-self/children, -1 until it is opened
	status        int // the leader's exec: an errno, or the end
	statusWrite   int
	cgroupFD      int // its directory
	killFD        int // its cgroup.kill, -1 before Linux 5.14
	mappedWrite   int
	mapped        int     // ends or has a byte when the user namespace's maps are written
	keep          [12]int // those of the above that the supervisor keeps, ascending
	nkeep         int
	maxFD         int

	// The name in the argument list.
	argv0    unsafe.Pointer
	argv0Len int

	// What has become of things.
	endWithin      int64 // of what is left, by force, in milliseconds; negative: nobody has asked
	interrupted    bool  // by the terminal
	signal         int   // to be passed on, 0 if none
	events         uint8 // seen and not yet handed to the machine: bit n for Event n
	failed         Step
	failedErrno    uint32
	leader         int
	leaderExited   bool
	leaderReported bool
	leaderStopped  bool
	stopChanged    bool
	leaderStatus   uint32
	executing      bool // the leader is at its exec; written by the leader
	started        bool
	unreaped       bool // there may be more to wait for
	killing        bool
	alive          int // children who have just been killed and have not ended yet
	killFrom       int64
	late           bool
	graceUntil     int64
	forced         uint32
	nameForced     bool // tell the proxy who had to be killed

	fds        [6]pollFD
	mirrorPoll pollFD

	// What the proxy has not been told yet: see tellProxy.
	toProxy      [4]Message
	nToProxy     int
	waitedForEnd bool

	// Room for what the kernel reads and writes.
	out    Message
	says   Message // the leader's out
	ts     timespec
	act    kernelSigaction
	clone  cloneArgs
	caps   [2]capData
	info   [siginfoSize / 4]int32
	upNext [siginfoSize / 4]int32
	named  [2]Message
	buf    [4096]byte
}

// rlimit is struct rlimit64 of prlimit(2).
type rlimit struct{ cur, max uint64 }

// numCaps bounds the ambient capabilities; capabilities(7) knows 41.
const numCaps = 64

// rawAttr is Attr without Go's slices.
type rawAttr struct {
	credential, noSetGroups      bool
	uid, gid                     uintptr
	groups                       unsafe.Pointer
	ngroups                      int
	caps                         [numCaps]uint32
	ncaps                        int
	setsid                       bool
	foreground, setctty, noctty  bool
	foregroundFD, ctty, unshared int
}

// supervise is the life of the supervisor, and after the fork, of the leader
// until its exec. It never returns. Its steps are siblings rather than nested,
// because the stack is short.
//
//go:nosplit
//go:norace
func (r *rawState) supervise() {
	r.prepare()
	if r.guarded {
		if pid := r.forkGuarded(); pid > 0 {
			r.guardian(pid)
		}
	}
	if r.initflags != 0 && r.failed == StepNone {
		r.becomeInit()
	}
	if r.failed == StepNone {
		r.watch()
	}
	if r.failed == StepNone {
		r.begin()
	}
	if r.failed != StepNone {
		r.reportFailure()
	}
	if r.leader == 0 {
		lead()
	}
	r.settle()
	r.loop()
}

// prepare takes off what is the proxy's.
//
//go:nosplit
//go:norace
func (r *rawState) prepare() {
	// The proxy's end must be seen as the end of the relay, so no other process
	// may hold its writing end: neither this one nor the leader.
	closeFD(r.relayWrite)
	r.rename()
	for sig := 1; sig <= numSig; sig++ {
		if r.reset&(1<<(uint(sig)-1)) != 0 && disposition(sig, &r.act) != sigDfl {
			setDisposition(sig, sigDfl, &r.act)
		}
	}
}

// watch begins the supervisor's office.
//
//go:nosplit
//go:norace
func (r *rawState) watch() {
	// Both descriptors were open before this process existed, so there is no
	// moment at which the owner's end could be missed; the guard is one poll.
	if r.guard() {
		r.check(StepGuard, -int(unix.ESRCH))
	}
	r.check(StepSubreaper, sys(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	if r.initflags == 0 {
		// Somebody may have stopped this process, by SIGSTOP: the end of the thread
		// that forked it wakes it up, and it looks whether that was its owner's.
		sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
		r.checkChildren()
	}
}

// begin forks the leader, or ends a probe.
//
//go:nosplit
//go:norace
func (r *rawState) begin() {
	if r.probe {
		r.tell(OpReady, 0, 0)
		r.flushProxy()
		exit(0)
	}
	if !r.groupInherited && !r.groupShared {
		r.leaveGroup()
	}
	r.supervisorPID = sys(unix.SYS_GETPID, 0, 0, 0, 0, 0)
	if r.cloneflags&unix.CLONE_NEWPID != 0 { // the leader cannot see our PID
		r.supervisorPidfd = sys(unix.SYS_PIDFD_OPEN, uintptr(r.supervisorPID), 0, 0, 0, 0)
	}
	r.leader = -1
	if r.shareMemory {
		r.leader = r.forkSharing()
	}
	if r.leader < 0 { // some sandbox may know no more than fork and threads
		r.shareMemory = false
		r.leader = r.forkLeader()
	}
	r.check(StepClone, r.leader)
}

// settle gives up what the leader has inherited.
//
//go:nosplit
//go:norace
func (r *rawState) settle() {
	if r.groupShared {
		// A session of its own: a leader whose parent is in its session keeps the
		// group from being orphaned, and the end of that parent would orphan it. The
		// kernel then sends SIGHUP to the whole group if anyone in it is stopped,
		// setpgid(2): to the service, and to whatever shares its group.
		sys(unix.SYS_SETSID, 0, 0, 0, 0, 0)
	} else if r.groupInherited {
		r.leaveGroup()
	}
	r.closeAllButKept()
	sys(unix.SYS_CHDIR, uintptr(unsafe.Pointer(&rootDir[0])), 0, 0, 0, 0)
}

// cloneArgs is struct clone_args, clone(2), as of CLONE_INTO_CGROUP (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
}

// forkLeader forks the leader, inside its cgroup if it has one: moved there
// afterwards it could have forked before.
//
//go:nosplit
//go:norace
func (r *rawState) forkLeader() int {
	if r.cgroupFD < 0 {
		return fork(r.cloneflags)
	}
	r.clone = cloneArgs{flags: uint64(r.cloneflags) | unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: uint64(r.cgroupFD)}
	return sys(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0, 0, 0)
}

// leaveGroup leaves the service's process group: a SIGKILL to that must not
// reach the supervisor.
//
//go:nosplit
//go:norace
func (r *rawState) leaveGroup() { sys(unix.SYS_SETPGID, 0, 0, 0, 0, 0) }

var (
	one     = [...]byte{'1'}
	rootDir = [...]byte{'/', 0}
	// childrenFile is "/proc/thread-self/children": text in arrays, because the
	// address of a string constant's bytes is no plain word.
	childrenFile = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 't', 'h', 'r', 'e', 'a', 'd', '-', 's', 'e', 'l', 'f', '/',
		'c', 'h', 'i', 'l', 'd', 'r', 'e', 'n', 0}
	argv0Name = [...]byte{'c', 'o', 'n', 't', 'a', 'i', 'n', '-', 's', 'u', 'p', 'e', 'r', 'v', 'i', 's', 'o', 'r', 0}
)

// checkChildren fails if this process could not list its children. An init need not:
// it finds all by kill(-1). In the /proc of another PID namespace they would have other
// numbers; only a cgroup can do without.
//
//go:nosplit
//go:norace
func (r *rawState) checkChildren() {
	switch {
	case r.foreignProc && r.killFD >= 0:
	case r.foreignProc:
		r.check(StepChildren, -int(unix.ESRCH))
	default:
		r.check(StepChildren, -int(r.childrenErrno))
	}
}

// openChildren opens the list of this thread's children, proc_pid_task_children(5)
// (Linux 3.5), if it can and has not yet. This process has one thread.
//
// It is not opened before the command is started, and not for one that is over soon and
// leaves nobody: what the kernel makes for it costs a fiftieth of such a run.
//
//go:nosplit
//go:norace
func (r *rawState) openChildren() {
	if r.children < 0 && r.initflags == 0 && !r.foreignProc {
		atFDCWD := unix.AT_FDCWD
		r.children = sys(unix.SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&childrenFile[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0)
	}
}

// rename sets the thread's name and overwrites the argument list, so that a
// kill by the name of the command does not take the supervisor along.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *rawState) rename() {
	sys(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&argv0Name[0])), 0, 0, 0)
	for i := 0; i < r.argv0Len; i++ {
		var c byte
		if i < len(argv0Name) && i < r.argv0Len-1 {
			c = argv0Name[i]
		}
		*(*byte)(unsafe.Add(r.argv0, i)) = c
	}
}

// guard reports whether the owner, its parent or the proxy is gone.
//
//go:nosplit
//go:norace
func (r *rawState) guard() bool {
	r.watchOwners()
	return poll(&r.fds[0], 4, 0, &r.ts) > 0 && (r.gone(0) || r.gone(1) || r.gone(2) || r.gone(3))
}

// The places of descriptors in r.fds.
const (
	atOwner = iota
	atParent
	atChannel
	atRelay
	atSignals
	atStatus
)

//go:nosplit
//go:norace
func (r *rawState) watchOwners() {
	r.fds[atOwner] = pollFD{fd: int32(r.owner), events: unix.POLLIN}
	r.fds[atParent] = pollFD{fd: int32(r.parent), events: unix.POLLIN}
	r.fds[atChannel] = pollFD{fd: int32(r.channel), events: unix.POLLIN}
	r.fds[atRelay] = pollFD{fd: int32(r.relay), events: unix.POLLIN}
	r.fds[atSignals] = pollFD{fd: int32(r.signals), events: unix.POLLIN}
	r.fds[atStatus] = pollFD{fd: int32(r.status), events: unix.POLLIN}
}

// gone reports whether the descriptor at i says that its process has ended: a
// pidfd polls readable, a channel or relay hangs up.
//
//go:nosplit
//go:norace
func (r *rawState) gone(i int) bool {
	if i == atOwner || i == atParent {
		return r.fds[i].revents != 0
	}
	return r.fds[i].revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 && r.fds[i].revents&unix.POLLIN == 0
}

// tell sends a message to the owner and to the proxy.
//
//go:nosplit
//go:norace
func (r *rawState) tell(op Op, a, b uint32) {
	writeMessage(r.channel, op, a, b)
	r.tellProxy(op, a, b)
}

// tellProxy has flushProxy tell something to the proxy. What becomes known together
// is told together: of a command that is over soon the proxy hears at once that it was
// started and how it ended, wakes up once, and has nothing to prepare for its life.
//
//go:nosplit
//go:norace
func (r *rawState) tellProxy(op Op, a, b uint32) {
	if r.nToProxy < len(r.toProxy) { // one of each kind at most
		r.toProxy[r.nToProxy] = Message{Op: op, A: a, B: b}
		r.nToProxy++
	}
}

// flushProxy tells the proxy what tellProxy has put aside. Nothing may be left when
// this process waits or ends.
//
//go:nosplit
//go:norace
func (r *rawState) flushProxy() {
	if r.nToProxy > 0 {
		sys(unix.SYS_WRITE, uintptr(r.mirror), uintptr(unsafe.Pointer(&r.toProxy[0])), uintptr(r.nToProxy)*MessageSize, 0, 0)
		r.nToProxy = 0
	}
}

// check remembers the first step that failed, and reports whether this one
// worked. Nothing is done about it here: the deeper the call, the less stack.
//
//go:nosplit
//go:norace
func (r *rawState) check(step Step, result int) bool {
	if result < 0 && r.failed == StepNone {
		r.failed, r.failedErrno = step, uint32(-result)
	}
	return result >= 0
}

// reportFailure says that the backend could not be started, and ends the supervisor.
//
//go:nosplit
//go:norace
func (r *rawState) reportFailure() {
	r.tell(OpFailed, uint32(r.failed), r.failedErrno)
	r.flushProxy()
	exit(0)
}

// closeAllButKept closes what belongs to the backend: from here on it alone
// holds its descriptors, so its end of a pipe is the end of the pipe.
//
//go:nosplit
//go:norace
func (r *rawState) closeAllButKept() {
	if r.supervisorPidfd > r.maxFD {
		r.maxFD = r.supervisorPidfd
	}
	low := 0
	for i := 0; i < r.nkeep && i < len(r.keep); i++ {
		r.closeRange(low, r.keep[i]-1)
		low = r.keep[i] + 1
	}
	r.closeRange(low, r.maxFD)
}

// retain puts fd in its place among the descriptors to keep.
//
//go:nosplit
//go:norace
func (r *rawState) retain(fd int) {
	if fd < 0 || r.nkeep >= len(r.keep) {
		return
	}
	i := r.nkeep
	for ; i > 0 && i < len(r.keep) && r.keep[i-1] > fd; i-- {
		r.keep[i] = r.keep[i-1]
	}
	if i < len(r.keep) {
		r.keep[i] = fd
	}
	r.nkeep++
	if fd > r.maxFD {
		r.maxFD = fd
	}
}

//go:nosplit
//go:norace
func (r *rawState) closeRange(low, high int) {
	if low > high {
		return
	}
	if sys(unix.SYS_CLOSE_RANGE, uintptr(low), uintptr(high), 0, 0, 0) == 0 { // Linux 5.9
		return
	}
	for fd := low; fd <= high; fd++ {
		closeFD(fd)
	}
}

// loop waits for events and hands them to the machine, until the machine says exit.
//
//go:nosplit
//go:norace
func (r *rawState) loop() {
	r.watchOwners()
	for {
		ms := r.timeout()
		if r.mayBeOver(ms) {
			ms = overWithin
		} else {
			r.flushProxy()
			if r.started || r.channel >= 0 {
				r.openChildren()
			}
		}
		poll(&r.fds[0], len(r.fds), ms, &r.ts)
		if r.fds[atSignals].revents != 0 {
			sys(unix.SYS_READ, uintptr(r.signals), uintptr(unsafe.Pointer(&r.buf[0])), uintptr(len(r.buf)), 0, 0)
		}
		if r.fds[atOwner].revents != 0 {
			r.fds[atOwner].fd = -1
			r.note(OwnerGone)
			r.decide() // before there is time for anything else
		}
		if r.killing {
			r.killChildren()
		}
		r.reap() // before what follows: what is done with a signal depends on what the leader does
		if r.fds[atParent].revents != 0 {
			r.parentEnded()
			r.signalLeader()
		}
		if r.fds[atChannel].revents != 0 {
			r.readChannel()
			r.signalLeader()
		}
		if r.fds[atRelay].revents != 0 {
			r.readRelay()
			r.signalLeader()
		}
		if r.fds[atStatus].revents != 0 || r.leaderExited && r.fds[atStatus].fd >= 0 {
			r.leaderExeced()
			if r.failed != StepNone {
				r.reportFailure()
			}
			if r.started {
				r.tell(OpStarted, uint32(r.leader), uint32(r.supervisorPID))
			}
		}
		if r.stopChanged { // after its start: the proxy stops until it hears more
			r.mirrorStop()
		}
		if r.leaderExited && !r.leaderReported {
			if r.machine.OnLeaderExit == LeaderExitLeave && r.channel >= 0 {
				r.readChannel() // it may say that nobody is let go
				r.signalLeader()
			}
			r.leaderEnded()
		}
		r.startGrace()
		r.clocks()
		killing := r.killing
		r.decide()
		if r.killing && !killing {
			r.killChildren()
		}
	}
}

// decide hands what was noted to the machine, and does what that says.
//
//go:nosplit
//go:norace
func (r *rawState) decide() {
	for e := EndAsked; e <= DeadlinePassed; e++ {
		if r.events&(1<<e) != 0 {
			r.do(r.machine.Step(e))
		}
	}
	r.events = 0
}

// overWithin is how many milliseconds after its start a command's end is waited for
// before the proxy of contain run is told that it was started.
const overWithin = 2

// mayBeOver reports, once, whether the start of a command is all that the proxy is to
// be told, and nothing of it is urgent: the proxy then gives its streams up, which
// for a command that is over at once is work for nothing.
//
//go:nosplit
//go:norace
func (r *rawState) mayBeOver(ms int) bool {
	if r.channel >= 0 || r.waitedForEnd || !r.started || r.nToProxy != 1 || ms >= 0 {
		return false
	}
	r.waitedForEnd = true
	return true
}

// timeout is how long poll may wait. While killing it is short: the list of
// children may miss one that appears while it is read, proc_pid_task_children(5).
//
//go:nosplit
//go:norace
func (r *rawState) timeout() int {
	if r.unreaped {
		return 0
	}
	if r.killing {
		return 5
	}
	if r.graceUntil != 0 {
		if left := r.graceUntil - nowMillis(&r.ts); left > 0 {
			return int(left)
		}
		return 0
	}
	return -1
}

// clocks turns deadlines that have passed into events.
//
//go:nosplit
//go:norace
func (r *rawState) clocks() {
	if r.killing && !r.late && nowMillis(&r.ts)-r.killFrom >= r.killDeadline {
		r.late = true
		r.note(DeadlinePassed)
	}
	if r.graceUntil != 0 && nowMillis(&r.ts) >= r.graceUntil {
		r.graceUntil = 0
		r.note(StopOrdered)
	}
}

// note keeps an event for the loop, which hands it to the machine: causes before
// their consequences, in the order of the constants.
//
//go:nosplit
//go:norace
func (r *rawState) note(e Event) { r.events |= 1 << e }

// do carries out what the machine decided.
//
//go:nosplit
//go:norace
func (r *rawState) do(a Action) {
	if a&Kill != 0 && !r.killing {
		r.killing = true
		r.killFrom = nowMillis(&r.ts)
	}
	removed := uint32(0)
	if a&Exit != 0 && r.removeCgroup() {
		removed = 1
	}
	if a&Mirror != 0 {
		flags := uint32(0)
		if a&Exit != 0 {
			flags |= MirrorEnds
		}
		if r.interrupted {
			flags |= MirrorInterrupted
		}
		r.tellProxy(OpMirror, r.leaderStatus, flags)
		// Somebody may have stopped the proxy, by SIGSTOP: it must not stay behind.
		if a&Exit == 0 || !r.endContinues {
			r.signalProxy(unix.SIGCONT)
		}
	}
	if a&(Report|ReportLate) != 0 {
		op := OpEmpty
		if a&ReportLate != 0 {
			op = OpLate
		}
		r.tell(op, r.forced, removed)
	}
	if a&Exit != 0 || a&ReportLate != 0 && r.exitWhenLate {
		r.flushProxy()
		exit(0)
	}
}

// removeCgroup removes the leader's cgroup, if it has one, which is empty. One that
// the backend has divided remains, and goes with the next sweep.
//
//go:nosplit
//go:norace
func (r *rawState) removeCgroup() bool {
	return r.cgroup == nil || sys(unix.SYS_UNLINKAT, 0, uintptr(r.cgroup), unix.AT_REMOVEDIR, 0, 0) == 0
}

// leaderExeced reads how the leader's start ended: a step and an errno, or the
// end of the pipe, which exec has closed, or the leader's end.
//
// In a cgroup it counts how far the leader came. Where cgroup.kill (Linux 5.14) was ever
// written to this process's cgroup, the kernel kills whoever is born from here in
// another one, before its exec, and clone3 says nothing of it.
//
//go:nosplit
//go:norace
func (r *rawState) leaderExeced() {
	n := sys(unix.SYS_READ, uintptr(r.status), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, 0, 0)
	m := (*Message)(unsafe.Pointer(&r.buf[0]))
	if n == MessageSize && m.Op == OpExecuting {
		r.executing = true
		if !r.leaderExited {
			return
		}
		n = sys(unix.SYS_READ, uintptr(r.status), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, 0, 0)
	}
	closeFD(r.status)
	r.fds[atStatus] = pollFD{fd: -1}
	switch {
	case n == MessageSize:
		r.failed, r.failedErrno = Step(m.A), m.B
	case r.cgroupFD >= 0 && !r.executing:
		r.failed, r.failedErrno = StepClone, uint32(unix.ECANCELED)
	default:
		r.started = true
		return
	}
	sys(unix.SYS_WAIT4, uintptr(r.leader), 0, unix.WALL, 0, 0)
}

//go:nosplit
//go:norace
func (r *rawState) readChannel() {
	n := sys(unix.SYS_RECVFROM, uintptr(r.channel), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, unix.MSG_DONTWAIT, 0)
	switch {
	case n == MessageSize:
		m := (*Message)(unsafe.Pointer(&r.buf[0]))
		switch m.Op {
		case OpSignal:
			r.signal = int(m.A)
		case OpKill:
			r.note(StopOrdered)
		case OpEndAsked:
			r.note(EndAsked)
		}
	case n == -int(unix.EAGAIN) || n == -int(unix.EINTR):
	default: // the owner's end of its lifeline, or nonsense
		r.fds[atChannel].fd = -1
		r.note(OwnerGone)
	}
}

// siginfoSize is the size of siginfo_t on Linux, sigaction(2).
const siginfoSize = 128

// si_code in a siginfo_t, sigaction(2). A negative one is free for processes to use.
const (
	siKernel     = 0x80
	siPollIn     = 1   // about a message of ours, see wakeByMessage
	siSupervisor = -77 // sent by signalProxy
	siParentGone = -78 // no signal: pollParent has seen the parent's end
)

// readRelay forwards one signal that the proxy received, or notices the
// proxy's end.
//
//go:nosplit
//go:norace
func (r *rawState) readRelay() {
	n := sys(unix.SYS_READ, uintptr(r.relay), uintptr(unsafe.Pointer(&r.buf[0])), siginfoSize, 0, 0)
	switch {
	case n == siginfoSize:
		sig := int(*(*int32)(unsafe.Pointer(&r.buf[0])))
		code := *(*int32)(unsafe.Pointer(&r.buf[8]))
		pid := *(*int32)(unsafe.Pointer(&r.buf[siginfoPID*4]))
		if code == siSupervisor || code == siPollIn && sig == int(unix.SIGCONT) || r.proxy < 0 && r.initflags == 0 && int(pid) == r.supervisorPID {
			return // our own
		}
		if code == siParentGone {
			r.parentEnded()
			return
		}
		if code == siKernel && sig == int(unix.SIGHUP) { // the terminal is lost: that ends the tree
			r.askEnd(r.parentEndGrace)
		}
		if r.skipKernelSignal && code == siKernel {
			r.interrupted = r.interrupted || sig == int(unix.SIGINT)
			return
		}
		if sig == int(unix.SIGCONT) && r.skipKernelSignal && !r.leaderStopped {
			return // it came to the whole process group, as a shell sends it
		}
		if sig < 0 || sig >= len(r.rewrite) || r.rewrite[sig] == 0 {
			return
		}
		r.signal = int(r.rewrite[sig])
		if sig == int(unix.SIGTERM) {
			r.askEnd(r.grace)
		}
	case n == -int(unix.EAGAIN) || n == -int(unix.EINTR):
	default:
		r.fds[atRelay].fd = -1
		event := ProxyGone
		if r.channel < 0 { // contain run: the proxy is the owner
			event = OwnerGone
		}
		r.note(event)
	}
}

// parentEnded has the leader asked to end, as by a SIGTERM to contain run: the
// parent has ended, but the owner, contain run, lives and can end it in order.
//
//go:nosplit
//go:norace
func (r *rawState) parentEnded() {
	r.fds[atParent].fd = -1
	r.askEnd(r.parentEndGrace)
	r.signal = int(r.rewrite[unix.SIGTERM])
}

// askEnd has what is left ended by force after so many milliseconds, unless they
// are negative or it is to be ended sooner.
//
//go:nosplit
//go:norace
func (r *rawState) askEnd(ms int64) {
	if ms >= 0 && (r.endWithin < 0 || ms < r.endWithin) {
		r.endWithin = ms
	}
}

// startGrace starts the clock that askEnd has asked for.
//
//go:nosplit
//go:norace
func (r *rawState) startGrace() {
	if r.endWithin < 0 {
		return
	}
	until := max(nowMillis(&r.ts)+r.endWithin, 1)
	if !r.killing && (r.graceUntil == 0 || until < r.graceUntil) {
		r.graceUntil = until
	}
	r.endWithin = -1
}

// signalLeader passes r.signal on to the leader, which is our child: as long as we have not
// waited for it, its PID is its own. Once it has exited, the signal is for those
// that it left, as far as they have become our children.
//
//go:nosplit
//go:norace
func (r *rawState) signalLeader() {
	sig := r.signal
	r.signal = 0
	switch {
	case sig == 0:
	case r.leaderExited && r.started:
		r.signalChildren(uintptr(sig))
	case r.attr.setsid: // see Setsid in package linux
		sys(unix.SYS_KILL, uintptr(-r.leader), uintptr(sig), 0, 0, 0)
	default:
		sys(unix.SYS_KILL, uintptr(r.leader), uintptr(sig), 0, 0, 0)
	}
}

// Bounds of what is reaped before this process looks again who is gone and whom to
// kill: more may end than it can ever reap. It is few as long as the owner's end is what
// to look for, because among hundreds that fork and exit one wait takes a millisecond.
const (
	reapAtOnce        = 4
	reapAtOnceKilling = 1000
)

// reap waits for children that have ended. ECHILD is the proof that nothing is left:
// whatever the leader started is our descendant, and an orphan is our child.
//
// What is killed is not reaped before all of our children have ended. As a zombie
// each keeps its place in pids.max and RLIMIT_NPROC, so whoever has not been killed yet
// cannot fork; a fork bomb would fill the room up faster than it is found. When no
// child of ours lives nobody does: a zombie has no children.
//
//go:nosplit
//go:norace
func (r *rawState) reap() {
	most := reapAtOnce
	if r.killing {
		most = reapAtOnceKilling
	}
	r.unreaped = false
	if r.killing && r.alive > 0 && !r.late {
		return
	}
	for range most {
		which := ^uintptr(0)
		if r.killing && r.nameForced && r.forced < maxNamed {
			next := r.nameNext()
			if next == -int(unix.ECHILD) {
				r.note(Empty)
			} else if next < 0 { // a seccomp filter refuses waitid
				r.nameForced = false
				continue
			}
			if next <= 0 { // who ends now is named when this comes back
				return
			}
			which = uintptr(next)
			if r.named[0].A != 0 && !r.foreignProc {
				r.namePath(int32(which))
				r.keepName(r.readName())
			}
		}
		pid := r.wait(which)
		if pid == -int(unix.ECHILD) {
			r.note(Empty)
		}
		if pid <= 0 {
			return
		}
	}
	r.unreaped = true
	if !r.leaderExited {
		r.wait(uintptr(r.leader))
	}
}

// wait takes note of one child that has ended, stopped or continued: of one in
// particular, or of any. It returns its PID, 0 if there is none, or -errno.
//
//go:nosplit
//go:norace
func (r *rawState) wait(which uintptr) int {
	var status uint32
	pid := sys(unix.SYS_WAIT4, which, uintptr(unsafe.Pointer(&status)), unix.WNOHANG|unix.WALL|unix.WUNTRACED|unix.WCONTINUED, 0, 0)
	switch {
	case pid <= 0:
	case status&0xff == 0x7f: // WIFSTOPPED
		r.leaderStops(pid, true)
	case status == 0xffff: // WIFCONTINUED
		r.leaderStops(pid, false)
	default:
		if pid == r.leader {
			r.leaderExited, r.leaderStatus = true, status
		}
		if r.killing && uintptr(status&0x7f) == r.killSignal {
			r.forced++
			if r.nameForced && r.named[0].A == uint32(pid) {
				r.tellForced()
			}
		}
	}
	return pid
}

// nameNext puts the next child to be waited for into r.named and returns its PID; 0
// if none has ended, or -errno. As a zombie it still has its name.
//
//go:nosplit
//go:norace
func (r *rawState) nameNext() int {
	r.upNext[siginfoPID] = 0
	e := sys(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&r.upNext[0])), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0)
	pid := r.upNext[siginfoPID]
	r.named[0].A = 0
	if e < 0 {
		return e
	}
	if pid > 0 && r.upNext[siginfoStatus] == int32(r.killSignal) { // the signal, else an exit code: it ended by itself
		r.named[0] = Message{Op: OpForced, A: uint32(pid)}
		r.named[1] = Message{Op: OpForcedName}
	}
	return int(pid)
}

// siginfoPID is the place of si_pid in a siginfo_t of 32-bit words: after three
// words, at the next that is aligned to a pointer.
const siginfoPID = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0)) / 4

// siginfoStatus is the place of si_status: si_pid and si_uid come before it.
const siginfoStatus = siginfoPID + 2

// maxNamed bounds who is named, which takes several times as long as to reap.
const maxNamed = 256

// namePath puts "/proc/PID/comm" into r.buf.
//
//go:nosplit
//go:norace
func (r *rawState) namePath(pid int32) {
	end := 0
	for i := 0; i < len(procDir)-1; i++ {
		r.buf[end] = procDir[i]
		end++
	}
	r.buf[end] = '/'
	for n := pid; n > 0; n /= 10 {
		end++
	}
	i := end
	for n := pid; n > 0 && i > 0; n /= 10 {
		r.buf[i] = byte('0' + n%10)
		i--
	}
	for i := 0; i < len(commFile); i++ {
		end++
		r.buf[end] = commFile[i]
	}
}

var commFile = [...]byte{'/', 'c', 'o', 'm', 'm', 0}

// readName reads the file that r.buf names, proc_pid_comm(5), into r.buf.
//
//go:nosplit
//go:norace
func (r *rawState) readName() int {
	atFDCWD := unix.AT_FDCWD
	fd := sys(unix.SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&r.buf[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0)
	if fd < 0 {
		return 0
	}
	n := sys(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.buf[0])), maxName, 0, 0)
	sys(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
	return n
}

// maxName is the room for a name and what ends it, TASK_COMM_LEN in prctl(2).
const maxName = 16

// keepName takes a name of n bytes from r.buf to r.named.
//
//go:nosplit
//go:norace
func (r *rawState) keepName(n int) {
	for i := 0; i < n && i < maxName && r.buf[i] != '\n'; i++ {
		at := unsafe.Pointer(&r.named[0].B)
		if i >= maxName/2 {
			at = unsafe.Pointer(&r.named[1].A)
		}
		*(*byte)(unsafe.Add(at, i%(maxName/2))) = r.buf[i]
	}
}

// tellForced tells the proxy about r.named, unless the pipe is full: a proxy that
// is stopped reads nothing, and must not hold up what is killed.
//
//go:nosplit
//go:norace
func (r *rawState) tellForced() {
	r.mirrorPoll = pollFD{fd: int32(r.mirror), events: unix.POLLOUT}
	r.ts = timespec{}
	if sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&r.mirrorPoll)), 1, uintptr(unsafe.Pointer(&r.ts)), 0, 0) > 0 { // not poll: less stack
		sys(unix.SYS_WRITE, uintptr(r.mirror), uintptr(unsafe.Pointer(&r.named[0])), 2*MessageSize, 0, 0)
	}
}

// leaderStops takes note that a child has stopped or continued.
//
//go:nosplit
//go:norace
func (r *rawState) leaderStops(pid int, stopped bool) {
	if pid == r.leader && r.mirrorStops {
		r.leaderStopped, r.stopChanged = stopped, true
	}
}

// mirrorStop keeps the proxy as stopped as the leader, so that the shell above
// contain run sees a job that is stopped when its command is.
//
//go:nosplit
//go:norace
func (r *rawState) mirrorStop() {
	r.stopChanged = false
	switch {
	case r.killing:
	case r.initflags != 0: // out of a PID namespace nobody can be signalled
		// A proxy that is stopped itself reads nothing, and the pipe must not fill up.
		r.mirrorPoll = pollFD{fd: int32(r.mirror), events: unix.POLLOUT}
		if poll(&r.mirrorPoll, 1, 0, &r.ts) <= 0 {
			return
		}
		a := uint32(0)
		if r.leaderStopped {
			a = 1
		}
		r.tellProxy(OpStopped, a, 0)
	case r.leaderStopped:
		r.signalProxy(unix.SIGSTOP)
	default: // whoever continued the leader may not have meant the proxy
		r.signalProxy(unix.SIGCONT)
	}
}

// signalProxy signals the proxy, with a mark by which readRelay knows the signal again.
//
//go:nosplit
//go:norace
func (r *rawState) signalProxy(sig unix.Signal) {
	e := -int(unix.ENOSYS)
	if r.proxy >= 0 {
		r.info[0], r.info[2] = int32(sig), siSupervisor
		e = sys(unix.SYS_PIDFD_SEND_SIGNAL, uintptr(r.proxy), uintptr(sig), uintptr(unsafe.Pointer(&r.info[0])), 0, 0)
	}
	// Linux before 5.3, or a seccomp filter: as the parent of this process it has not
	// been waited for, so its PID is its own.
	if (e == -int(unix.ENOSYS) || e == -int(unix.EPERM)) && r.initflags == 0 && sys(unix.SYS_GETPPID, 0, 0, 0, 0, 0) == r.proxyPID {
		sys(unix.SYS_KILL, uintptr(r.proxyPID), uintptr(sig), 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func (r *rawState) leaderEnded() {
	r.leaderReported = true
	writeMessage(r.channel, OpLeader, r.leaderStatus, 0)
	event := LeaderExited
	if r.leaderStatus&0x7f == uint32(unix.SIGKILL) {
		event = LeaderSIGKILLed
	}
	r.note(event)
}

// killChildren kills every child. Their children become ours when they die, so
// that the next round finds them: nothing is looked up that could have been
// reused, and nothing can slip away.
//
//go:nosplit
//go:norace
func (r *rawState) killChildren() {
	if r.killFD >= 0 {
		// All at once, whatever their uid; what moved itself out is below still.
		sys(unix.SYS_PWRITE64, uintptr(r.killFD), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	}
	r.openChildren()
	r.signalChildren(r.killSignal)
}

// listAtOnce is how much of the list of children is read at a time: who forks and exits
// at every moment is not to be gone when its turn comes.
const listAtOnce = 128

// ended reports whether a child has ended, and leaves its status where it is.
//
//go:nosplit
//go:norace
func (r *rawState) ended(pid int) bool {
	r.upNext[siginfoPID] = 0
	sys(unix.SYS_WAITID, unix.P_PID, uintptr(pid), uintptr(unsafe.Pointer(&r.upNext[0])), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, 0)
	return r.upNext[siginfoPID] != 0
}

// signalChildren sends sig to every child.
//
//go:nosplit
//go:norace
func (r *rawState) signalChildren(sig uintptr) {
	// Everyone in the namespace but its init, kill(2). In any process but that init
	// it would be everyone on the host.
	if r.initflags != 0 && r.supervisorPID == 1 {
		sys(unix.SYS_KILL, ^uintptr(0), sig, 0, 0, 0)
		return
	}
	r.alive = 0
	sys(unix.SYS_LSEEK, uintptr(r.children), 0, unix.SEEK_SET, 0, 0)
	pid := 0
	for {
		n := sys(unix.SYS_READ, uintptr(r.children), uintptr(unsafe.Pointer(&r.buf[0])), listAtOnce, 0, 0)
		if n <= 0 {
			return
		}
		for i := 0; i < n && i < len(r.buf); i++ {
			c := r.buf[i]
			if c >= '0' && c <= '9' {
				pid = pid*10 + int(c-'0')
				continue
			}
			if pid > 0 && !(r.killing && r.ended(pid)) && sys(unix.SYS_KILL, uintptr(pid), sig, 0, 0, 0) == 0 {
				r.alive++
			}
			pid = 0
		}
	}
}
