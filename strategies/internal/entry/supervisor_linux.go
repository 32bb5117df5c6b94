package entry

import "unsafe"

// supervise is the life of the supervisor, and after the fork, of the leader
// until its exec. It never returns. Its steps are siblings rather than nested,
// because the stack is short.
//
//go:nosplit
//go:norace
func (r *Supervisor) supervise() {
	r.prepare()
	if r.Guarded {
		if pid := r.forkGuarded(); pid > 0 {
			r.guardian(pid)
		}
	}
	if r.InitFlags != 0 && r.failed == StepNone {
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
func (r *Supervisor) prepare() {
	// The proxy's end must be seen as the end of the relay, so no other process
	// may hold its writing end: neither this one nor the leader.
	closeFD(r.RelayWrite)
	r.rename()
	for sig := 1; sig <= NumSig; sig++ {
		if r.Reset&(1<<(uint(sig)-1)) != 0 && disposition(sig, &r.act) != sigDfl {
			setDisposition(sig, sigDfl, &r.act)
		}
	}
}

// watch begins the supervisor's office.
//
//go:nosplit
//go:norace
func (r *Supervisor) watch() {
	// Both descriptors were open before this process existed, so there is no
	// moment at which the owner's end could be missed; the guard is one poll.
	if r.guard() {
		r.check(StepGuard, -int(_ESRCH))
	}
	r.check(StepSubreaper, sys(_SYS_PRCTL, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	if r.InitFlags == 0 {
		// Somebody may have stopped this process, by SIGSTOP: the end of the thread
		// that forked it wakes it up, and it looks whether that was its owner's.
		sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGCONT), 0, 0, 0)
		r.checkChildren()
	}
}

// begin forks the leader, or ends a probe.
//
//go:nosplit
//go:norace
func (r *Supervisor) begin() {
	if r.Probe {
		r.tell(OpReady, 0, 0)
		r.flushProxy()
		exit(0)
	}
	if !r.GroupInherited && !r.GroupShared {
		r.leaveGroup()
	}
	r.supervisorPID = sys(_SYS_GETPID, 0, 0, 0, 0, 0)
	if r.Attr.CloneFlags&_CLONE_NEWPID != 0 { // the leader cannot see our PID
		r.supervisorPidfd = sys(_SYS_PIDFD_OPEN, uintptr(r.supervisorPID), 0, 0, 0, 0)
	}
	r.leader = -1
	if r.ShareMemory {
		r.leader = r.forkSharing()
	}
	if r.leader < 0 { // some sandbox may know no more than fork and threads
		r.ShareMemory = false
		r.leader = r.forkLeader()
	}
	r.check(StepClone, r.leader)
}

// settle gives up what the leader has inherited.
//
//go:nosplit
//go:norace
func (r *Supervisor) settle() {
	if r.GroupShared {
		// A session of its own: a leader whose parent is in its session keeps the
		// group from being orphaned, and the end of that parent would orphan it. The
		// kernel then sends SIGHUP to the whole group if anyone in it is stopped,
		// setpgid(2): to the service, and to whatever shares its group.
		sys(_SYS_SETSID, 0, 0, 0, 0, 0)
	} else if r.GroupInherited {
		r.leaveGroup()
	}
	r.closeAllButKept()
	sys(_SYS_CHDIR, uintptr(unsafe.Pointer(&rootDir[0])), 0, 0, 0, 0)
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
func (r *Supervisor) forkLeader() int {
	if r.CgroupFD < 0 {
		return fork(r.Attr.CloneFlags)
	}
	r.clone = cloneArgs{flags: uint64(r.Attr.CloneFlags) | _CLONE_INTO_CGROUP, exitSignal: uint64(_SIGCHLD), cgroup: uint64(r.CgroupFD)}
	return sys(_SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0, 0, 0)
}

// leaveGroup leaves the service's process group: a SIGKILL to that must not
// reach the supervisor.
//
//go:nosplit
//go:norace
func (r *Supervisor) leaveGroup() { sys(_SYS_SETPGID, 0, 0, 0, 0, 0) }

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
func (r *Supervisor) checkChildren() {
	switch {
	case r.ForeignProc && r.KillFD >= 0:
	case r.ForeignProc:
		r.check(StepChildren, -int(_ESRCH))
	default:
		r.check(StepChildren, -int(r.ChildrenErrno))
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
func (r *Supervisor) openChildren() {
	if r.children < 0 && r.InitFlags == 0 && !r.ForeignProc {
		atFDCWD := _AT_FDCWD
		r.children = sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&childrenFile[0])), _O_RDONLY|_O_CLOEXEC, 0, 0)
	}
}

// rename sets the thread's name and overwrites the argument list, so that a
// kill by the name of the command does not take the supervisor along.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *Supervisor) rename() {
	sys(_SYS_PRCTL, _PR_SET_NAME, uintptr(unsafe.Pointer(&argv0Name[0])), 0, 0, 0)
	if !r.ArgumentsShared {
		r.renameArguments()
	}
}

// renameArguments overwrites the argument list. Where that is the leader's own, it must wait for the exec.
//
//go:nosplit
//go:norace
func (r *Supervisor) renameArguments() {
	for i := 0; i < r.Argv0Len; i++ {
		var c byte
		if i < len(argv0Name) && i < r.Argv0Len-1 {
			c = argv0Name[i]
		}
		poke(r.Argv0+uintptr(i), c)
	}
}

// guard reports whether the owner, its parent or the proxy is gone.
//
//go:nosplit
//go:norace
func (r *Supervisor) guard() bool {
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
func (r *Supervisor) watchOwners() {
	r.fds[atOwner] = pollFD{fd: int32(r.Owner), events: _POLLIN}
	r.fds[atParent] = pollFD{fd: int32(r.Parent), events: _POLLIN}
	r.fds[atChannel] = pollFD{fd: int32(r.Channel), events: _POLLIN}
	r.fds[atRelay] = pollFD{fd: int32(r.Relay), events: _POLLIN}
	r.fds[atSignals] = pollFD{fd: int32(r.Signals), events: _POLLIN}
	r.fds[atStatus] = pollFD{fd: int32(r.Status), events: _POLLIN}
}

// gone reports whether the descriptor at i says that its process has ended: a
// pidfd polls readable, a channel or relay hangs up.
//
//go:nosplit
//go:norace
func (r *Supervisor) gone(i int) bool {
	if i == atOwner || i == atParent {
		return r.fds[i].revents != 0
	}
	return r.fds[i].revents&(_POLLHUP|_POLLERR|_POLLNVAL) != 0
}

// tell sends a message to the owner and to the proxy.
//
//go:nosplit
//go:norace
func (r *Supervisor) tell(op Op, a, b uint32) {
	writeMessage(r.Channel, op, a, b)
	r.tellProxy(op, a, b)
}

// tellProxy has flushProxy tell something to the proxy. What becomes known together
// is told together: of a command that is over soon the proxy hears at once that it was
// started and how it ended, wakes up once, and has nothing to prepare for its life.
//
//go:nosplit
//go:norace
func (r *Supervisor) tellProxy(op Op, a, b uint32) {
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
func (r *Supervisor) flushProxy() {
	if r.nToProxy > 0 {
		sys(_SYS_WRITE, uintptr(r.Mirror), uintptr(unsafe.Pointer(&r.toProxy[0])), uintptr(r.nToProxy)*MessageSize, 0, 0)
		r.nToProxy = 0
	}
}

// check remembers the first step that failed, and reports whether this one
// worked. Nothing is done about it here: the deeper the call, the less stack.
//
//go:nosplit
//go:norace
func (r *Supervisor) check(step Step, result int) bool {
	if result < 0 && r.failed == StepNone {
		r.failed, r.failedErrno = step, uint32(-result)
	}
	return result >= 0
}

// reportFailure says that the backend could not be started, and ends the supervisor.
//
//go:nosplit
//go:norace
func (r *Supervisor) reportFailure() {
	r.tell(OpFailed, uint32(r.failed), r.failedErrno)
	r.flushProxy()
	exit(0)
}

// closeAllButKept closes what belongs to the backend: from here on it alone
// holds its descriptors, so its end of a pipe is the end of the pipe.
//
//go:nosplit
//go:norace
func (r *Supervisor) closeAllButKept() {
	if r.supervisorPidfd > r.MaxFD {
		r.MaxFD = r.supervisorPidfd
	}
	low := 0
	for i := 0; i < r.nkeep && i < len(r.keep); i++ {
		r.closeRange(low, r.keep[i]-1)
		low = r.keep[i] + 1
	}
	r.closeRange(low, r.MaxFD)
}

// Retain puts fd in its place among the descriptors that the supervisor keeps. It
// reports whether there was room for it.
//
//go:nosplit
//go:norace
func (r *Supervisor) Retain(fd int) bool {
	if fd < 0 {
		return true
	}
	if r.nkeep >= len(r.keep) {
		return false
	}
	i := r.nkeep
	for ; i > 0 && i < len(r.keep) && r.keep[i-1] > fd; i-- {
		r.keep[i] = r.keep[i-1]
	}
	if i < len(r.keep) {
		r.keep[i] = fd
	}
	r.nkeep++
	if fd > r.MaxFD {
		r.MaxFD = fd
	}
	return true
}

//go:nosplit
//go:norace
func (r *Supervisor) closeRange(low, high int) {
	if low > high {
		return
	}
	if sys(_SYS_CLOSE_RANGE, uintptr(low), uintptr(high), 0, 0, 0) == 0 { // Linux 5.9
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
func (r *Supervisor) loop() {
	r.watchOwners()
	for {
		ms := r.timeout()
		if r.mayBeOver(ms) {
			ms = overWithin
		} else {
			r.flushProxy()
			if r.started || r.Channel >= 0 {
				r.openChildren()
			}
			if r.started {
				r.outlive()
			}
		}
		poll(&r.fds[0], len(r.fds), ms, &r.ts)
		if r.fds[atSignals].revents != 0 {
			sys(_SYS_READ, uintptr(r.Signals), uintptr(unsafe.Pointer(&r.buf[0])), uintptr(len(r.buf)), 0, 0)
		}
		if r.fds[atOwner].revents != 0 {
			r.fds[atOwner].fd = -1
			r.note(OwnerGone)
			r.decide() // before there is time for anything else
		}
		if r.killing {
			r.killChildren()
		}
		if r.InitFlags != 0 && r.Channel >= 0 && !r.announced && r.ended(r.leader) {
			r.announce()
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
			if r.Machine.OnLeaderExit == LeaderExitLeave && r.Channel >= 0 {
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
func (r *Supervisor) decide() {
	for e := EndAsked; e <= DeadlinePassed; e++ {
		if r.events&(1<<e) != 0 {
			r.do(r.Machine.Step(e))
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
func (r *Supervisor) mayBeOver(ms int) bool {
	if r.Channel >= 0 || r.waitedForEnd || !r.started || r.nToProxy != 1 || ms >= 0 {
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
func (r *Supervisor) timeout() int {
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
func (r *Supervisor) clocks() {
	if r.killing && !r.late && nowMillis(&r.ts)-r.killFrom >= r.KillDeadline {
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
func (r *Supervisor) note(e Event) { r.events |= 1 << e }

// do carries out what the machine decided.
//
//go:nosplit
//go:norace
func (r *Supervisor) do(a Action) {
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
		if a&Exit == 0 || !r.EndContinues {
			r.signalProxy(_SIGCONT)
		}
	}
	if a&(Report|ReportLate) != 0 {
		op := OpEmpty
		if a&ReportLate != 0 {
			op = OpLate
		}
		r.tell(op, r.forced, removed)
	}
	if a&Exit != 0 || a&ReportLate != 0 && r.ExitWhenLate {
		r.flushProxy()
		exit(0)
	}
}

// removeCgroup removes the leader's cgroup, if it has one, which is empty. One that
// the backend has divided remains, and goes with the next sweep.
//
//go:nosplit
//go:norace
func (r *Supervisor) removeCgroup() bool {
	return r.Cgroup == 0 || sys(_SYS_UNLINKAT, 0, r.Cgroup, _AT_REMOVEDIR, 0, 0) == 0
}

// leaderExeced reads how the leader's start ended: a step and an errno, or the
// end of the pipe, which exec has closed, or the leader's end. Whatever a leader that has
// ended has said is there to be read; nothing is waited for, because another may hold
// the pipe open: a contain run that its command has stopped before it could close it.
//
// In a cgroup it counts how far the leader came. Where cgroup.kill (Linux 5.14) was ever
// written to this process's cgroup, the kernel kills whoever is born from here in
// another one, before its exec, and clone3 says nothing of it.
//
//go:nosplit
//go:norace
func (r *Supervisor) leaderExeced() {
	n := sys(_SYS_READ, uintptr(r.Status), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, 0, 0)
	m := (*Message)(unsafe.Pointer(&r.buf[0]))
	if n == MessageSize && m.Op == OpExecuting {
		r.executing = true
		if !r.leaderExited {
			return
		}
		n = sys(_SYS_READ, uintptr(r.Status), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, 0, 0)
	}
	closeFD(r.Status)
	r.fds[atStatus] = pollFD{fd: -1}
	switch {
	case n == MessageSize:
		r.failed, r.failedErrno = Step(m.A), m.B
	case r.CgroupFD >= 0 && !r.executing:
		r.failed, r.failedErrno = StepClone, uint32(_ECANCELED)
	default:
		r.started = true
		if r.ArgumentsShared {
			r.renameArguments()
		}
		return
	}
	sys(_SYS_WAIT4, uintptr(r.leader), 0, _WALL, 0, 0)
}

//go:nosplit
//go:norace
func (r *Supervisor) readChannel() {
	n := sys(_SYS_RECVFROM, uintptr(r.Channel), uintptr(unsafe.Pointer(&r.buf[0])), MessageSize, _MSG_DONTWAIT, 0)
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
	case n == -int(_EAGAIN) || n == -int(_EINTR):
	default: // the owner's end of its lifeline, or nonsense
		r.fds[atChannel].fd = -1
		r.note(OwnerGone)
	}
}

// SiginfoSize is the size of siginfo_t on Linux, sigaction(2).
const SiginfoSize = 128

// si_code in a siginfo_t, sigaction(2). A negative one is free for processes to use.
const (
	// SIKernel is that of what the kernel sends, such as a terminal's signals.
	SIKernel     = 0x80
	siPollIn     = 1   // about a message of ours, see wakeByMessage
	siSupervisor = -77 // sent by signalProxy
	// SIParentGone is no signal: contain run has seen the end of its parent.
	SIParentGone = -78
)

// readRelay forwards one signal that the proxy received, or notices the
// proxy's end.
//
//go:nosplit
//go:norace
func (r *Supervisor) readRelay() {
	n := sys(_SYS_READ, uintptr(r.Relay), uintptr(unsafe.Pointer(&r.buf[0])), SiginfoSize, 0, 0)
	switch {
	case n == SiginfoSize:
		sig := int(*(*int32)(unsafe.Pointer(&r.buf[0])))
		code := *(*int32)(unsafe.Pointer(&r.buf[8]))
		pid := *(*int32)(unsafe.Pointer(&r.buf[siginfoPID*4]))
		if code == siSupervisor || code == siPollIn && sig == int(_SIGCONT) || r.Proxy < 0 && r.InitFlags == 0 && int(pid) == r.supervisorPID {
			return // our own
		}
		if code == SIParentGone {
			r.parentEnded()
			return
		}
		if code == SIKernel && sig == int(_SIGHUP) { // the terminal is lost: that ends the tree
			r.askEnd(r.ParentEndGrace)
		}
		if r.SkipKernelSignal && code == SIKernel {
			r.interrupted = r.interrupted || sig == int(_SIGINT)
			return
		}
		if sig == int(_SIGCONT) && r.SkipKernelSignal && r.MirrorStops && !r.leaderStopped {
			return // it came to the whole process group, as a shell sends it
		}
		if sig < 0 || sig >= len(r.Rewrite) || r.Rewrite[sig] == 0 || code <= 0 && r.repeats(sig, pid) {
			return
		}
		r.signal = int(r.Rewrite[sig])
		if sig == int(_SIGTERM) {
			r.askEnd(r.Grace)
		}
	case n == -int(_EAGAIN) || n == -int(_EINTR):
	default:
		r.fds[atRelay].fd = -1
		event := ProxyGone
		if r.Channel < 0 { // contain run: the proxy is the owner
			event = OwnerGone
		}
		r.note(event)
	}
}

// ReceivedAt is the place of a time in what the proxy relays, in bytes: a siginfo_t
// has nothing there.
const ReceivedAt = 112

// mergeWithin is the time, in nanoseconds, within which the same signal of the same
// sender is the same once more: GNU timeout, for one, signals its child and then the
// child's process group. A command that is started plainly has not seen the first of
// them yet, as a rule, when the second comes, and sees one.
const mergeWithin = 2_000_000

// realTimeMin is the first of the signals that are queued, signal(7).
const realTimeMin = 32

// repeats reports whether the signal in r.buf is such a second one.
//
//go:nosplit
//go:norace
func (r *Supervisor) repeats(sig int, sender int32) bool {
	at := (*timespec)(unsafe.Pointer(&r.buf[ReceivedAt]))
	now := int64(at[0])*1e9 + int64(at[1])
	if sig >= realTimeMin || now == 0 {
		return false
	}
	seen := &r.seen[sig]
	since := now - seen.at // of two threads the later may be read first
	if seen.sender == sender && since < mergeWithin && since > -mergeWithin {
		return true
	}
	seen.sender, seen.at = sender, now
	return false
}

// parentEnded has the leader asked to end, as by a SIGTERM to contain run: the
// parent has ended, but the owner, contain run, lives and can end it in order.
//
//go:nosplit
//go:norace
func (r *Supervisor) parentEnded() {
	r.fds[atParent].fd = -1
	r.askEnd(r.ParentEndGrace)
	r.signal = int(r.Rewrite[_SIGTERM])
}

// askEnd has what is left ended by force after so many milliseconds, unless they
// are negative or it is to be ended sooner.
//
//go:nosplit
//go:norace
func (r *Supervisor) askEnd(ms int64) {
	if ms >= 0 && (r.EndWithin < 0 || ms < r.EndWithin) {
		r.EndWithin = ms
	}
}

// startGrace starts the clock that askEnd has asked for.
//
//go:nosplit
//go:norace
func (r *Supervisor) startGrace() {
	if r.EndWithin < 0 {
		return
	}
	until := max(nowMillis(&r.ts)+r.EndWithin, 1)
	if !r.killing && (r.graceUntil == 0 || until < r.graceUntil) {
		r.graceUntil = until
	}
	r.EndWithin = -1
}

// signalLeader passes r.signal on to the leader, which is our child: as long as we have not
// waited for it, its PID is its own. Once it has exited, the signal is for those
// that it left, as far as they have become our children.
//
//go:nosplit
//go:norace
func (r *Supervisor) signalLeader() {
	sig := r.signal
	r.signal = 0
	switch {
	case sig == 0:
	case r.leaderExited && r.started:
		r.signalChildren(uintptr(sig))
	case r.Attr.Setsid: // see Setsid in package linux
		sys(_SYS_KILL, uintptr(-r.leader), uintptr(sig), 0, 0, 0)
	case r.ToGroup && sys(_SYS_KILL, uintptr(-r.leader), uintptr(sig), 0, 0, 0) != -int(_ESRCH):
	default: // also a leader that does not lead a group yet
		sys(_SYS_KILL, uintptr(r.leader), uintptr(sig), 0, 0, 0)
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
func (r *Supervisor) reap() {
	most := reapAtOnce
	if r.killing {
		most = reapAtOnceKilling
	}
	r.unreaped = false
	if r.killing && r.alive > 0 && !r.late && !r.unseen {
		return
	}
	for range most {
		which := ^uintptr(0)
		if r.killing && r.NameForced && r.forced < maxNamed {
			next := r.nameNext()
			if next == -int(_ECHILD) {
				r.note(Empty)
			} else if next < 0 { // a seccomp filter refuses waitid
				r.NameForced = false
				continue
			}
			if next <= 0 { // who ends now is named when this comes back
				return
			}
			which = uintptr(next)
			if r.named[0].A != 0 && !r.ForeignProc {
				r.namePath(int32(which))
				r.keepName(r.readName())
			}
		}
		pid := r.wait(which)
		if pid == -int(_ECHILD) {
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
func (r *Supervisor) wait(which uintptr) int {
	var status uint32
	pid := sys(_SYS_WAIT4, which, uintptr(unsafe.Pointer(&status)), _WNOHANG|_WALL|_WUNTRACED|_WCONTINUED, 0, 0)
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
		if r.killing && uintptr(status&0x7f) == r.KillSignal {
			r.forced++
			if r.NameForced && r.named[0].A == uint32(pid) {
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
func (r *Supervisor) nameNext() int {
	r.upNext[siginfoPID] = 0
	e := sys(_SYS_WAITID, _P_ALL, 0, uintptr(unsafe.Pointer(&r.upNext[0])), _WEXITED|_WNOHANG|_WNOWAIT|_WALL, 0)
	pid := r.upNext[siginfoPID]
	r.named[0].A = 0
	if e < 0 {
		return e
	}
	if pid > 0 && r.upNext[siginfoStatus] == int32(r.KillSignal) { // the signal, else an exit code: it ended by itself
		r.named[0] = Message{Op: OpForced, A: uint32(pid)}
		r.named[1] = Message{Op: OpForcedName}
	}
	return int(pid)
}

// siginfoPID is the place of si_pid in a siginfo_t of 32-bit words: after three
// words, at the next that is aligned to a pointer.
const siginfoPID = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0)) / 4

// siginfoCode is the place of si_code: si_signo and si_errno come before it.
const siginfoCode = 2

// si_code of what waitid says of a child that has ended, sigaction(2).
const (
	_CLD_EXITED = 1
	_CLD_DUMPED = 3
)

// siginfoStatus is the place of si_status: si_pid and si_uid come before it.
const siginfoStatus = siginfoPID + 2

// maxNamed bounds who is named, which takes several times as long as to reap.
const maxNamed = 256

// namePath puts "/proc/PID/comm" into r.buf.
//
//go:nosplit
//go:norace
func (r *Supervisor) namePath(pid int32) {
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
func (r *Supervisor) readName() int {
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&r.buf[0])), _O_RDONLY|_O_CLOEXEC, 0, 0)
	if fd < 0 {
		return 0
	}
	n := sys(_SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.buf[0])), maxName, 0, 0)
	sys(_SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
	return n
}

// maxName is the room for a name and what ends it, TASK_COMM_LEN in prctl(2).
const maxName = 16

// keepName takes a name of n bytes from r.buf to r.named.
//
//go:nosplit
//go:norace
func (r *Supervisor) keepName(n int) {
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
func (r *Supervisor) tellForced() {
	r.mirrorPoll = pollFD{fd: int32(r.Mirror), events: _POLLOUT}
	r.ts = timespec{}
	if sys(_SYS_PPOLL, uintptr(unsafe.Pointer(&r.mirrorPoll)), 1, uintptr(unsafe.Pointer(&r.ts)), 0, 0) > 0 { // not poll: less stack
		sys(_SYS_WRITE, uintptr(r.Mirror), uintptr(unsafe.Pointer(&r.named[0])), 2*MessageSize, 0, 0)
	}
}

// leaderStops takes note that a child has stopped or continued.
//
//go:nosplit
//go:norace
func (r *Supervisor) leaderStops(pid int, stopped bool) {
	if pid == r.leader && r.MirrorStops {
		r.leaderStopped, r.stopChanged = stopped, true
	}
}

// mirrorStop keeps the proxy as stopped as the leader, so that the shell above
// contain run sees a job that is stopped when its command is.
//
//go:nosplit
//go:norace
func (r *Supervisor) mirrorStop() {
	r.stopChanged = false
	switch {
	case r.killing:
	case r.InitFlags != 0: // out of a PID namespace nobody can be signalled
		// A proxy that is stopped itself reads nothing, and the pipe must not fill up.
		r.mirrorPoll = pollFD{fd: int32(r.Mirror), events: _POLLOUT}
		if poll(&r.mirrorPoll, 1, 0, &r.ts) <= 0 {
			return
		}
		a := uint32(0)
		if r.leaderStopped {
			a = 1
		}
		r.tellProxy(OpStopped, a, 0)
	case r.leaderStopped:
		r.signalProxy(_SIGSTOP)
	default: // whoever continued the leader may not have meant the proxy
		r.signalProxy(_SIGCONT)
	}
}

// signalProxy signals the proxy, with a mark by which readRelay knows the signal again.
//
//go:nosplit
//go:norace
func (r *Supervisor) signalProxy(sig int) {
	e := -int(_ENOSYS)
	if r.Proxy >= 0 {
		r.info[0], r.info[2] = int32(sig), siSupervisor
		e = sys(_SYS_PIDFD_SEND_SIGNAL, uintptr(r.Proxy), uintptr(sig), uintptr(unsafe.Pointer(&r.info[0])), 0, 0)
	}
	// Linux before 5.3, or a seccomp filter: as the parent of this process it has not
	// been waited for, so its PID is its own.
	if (e == -int(_ENOSYS) || e == -int(_EPERM)) && r.InitFlags == 0 && sys(_SYS_GETPPID, 0, 0, 0, 0, 0) == r.ProxyPID {
		sys(_SYS_KILL, uintptr(r.ProxyPID), uintptr(sig), 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func (r *Supervisor) leaderEnded() {
	r.leaderReported = true
	writeMessage(r.Channel, OpLeader, r.leaderStatus, 0)
	event := LeaderExited
	if r.leaderStatus&0x7f == uint32(_SIGKILL) {
		event = LeaderSIGKILLed
	}
	r.note(event)
}

// announce tells the owner how the leader has ended, before anything is done about that.
// The kernel kills an init together with its proxy, and with it goes the status of a leader
// that it has reaped; of one that it has not, the kernel may tell the owner.
//
//go:nosplit
//go:norace
func (r *Supervisor) announce() {
	r.announced = true
	status := uint32(r.upNext[siginfoStatus])
	switch r.upNext[siginfoCode] {
	case _CLD_EXITED:
		status <<= 8
	case _CLD_DUMPED:
		status |= 0x80
	}
	writeMessage(r.Channel, OpLeader, status, 0)
}

// killChildren kills every child. Their children become ours when they die, so
// that the next round finds them: nothing is looked up that could have been
// reused, and nothing can slip away.
//
//go:nosplit
//go:norace
func (r *Supervisor) killChildren() {
	if r.KillFD >= 0 {
		// All at once, whatever their uid; what moved itself out is below still.
		sys(_SYS_PWRITE64, uintptr(r.KillFD), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	}
	r.openChildren()
	r.signalChildren(r.KillSignal)
}

// listAtOnce is how much of the list of children is read at a time: who forks and exits
// at every moment is not to be gone when its turn comes.
const listAtOnce = 128

// ended reports whether a child has ended, and leaves its status where it is.
//
//go:nosplit
//go:norace
func (r *Supervisor) ended(pid int) bool {
	r.upNext[siginfoPID] = 0
	e := sys(_SYS_WAITID, _P_PID, uintptr(pid), uintptr(unsafe.Pointer(&r.upNext[0])), _WEXITED|_WNOHANG|_WNOWAIT|_WALL, 0)
	if e < 0 && e != -_ECHILD && e != -_EINTR {
		r.unseen = true // a seccomp filter refuses waitid
	}
	return r.upNext[siginfoPID] != 0
}

// signalChildren sends sig to every child.
//
//go:nosplit
//go:norace
func (r *Supervisor) signalChildren(sig uintptr) {
	// Everyone in the namespace but its init, kill(2). In any process but that init
	// it would be everyone on the host.
	if r.InitFlags != 0 && r.supervisorPID == 1 {
		sys(_SYS_KILL, ^uintptr(0), sig, 0, 0, 0)
		return
	}
	r.alive = 0
	sys(_SYS_LSEEK, uintptr(r.children), 0, _SEEK_SET, 0, 0)
	pid := 0
	for {
		n := sys(_SYS_READ, uintptr(r.children), uintptr(unsafe.Pointer(&r.buf[0])), listAtOnce, 0, 0)
		if n <= 0 {
			return
		}
		for i := 0; i < n && i < len(r.buf); i++ {
			c := r.buf[i]
			if c >= '0' && c <= '9' {
				pid = pid*10 + int(c-'0')
				continue
			}
			if pid > 0 && !(r.killing && r.ended(pid)) && sys(_SYS_KILL, uintptr(pid), sig, 0, 0, 0) == 0 {
				r.alive++
			}
			pid = 0
		}
	}
}
