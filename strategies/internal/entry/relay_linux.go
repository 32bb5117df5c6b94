package entry

import "unsafe"

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
		case OpRelease:
			r.release()
		}
	case n == -int(_EAGAIN) || n == -int(_EINTR):
	default: // the owner's end of its lifeline, or nonsense
		r.fds[atChannel].fd = -1
		r.note(OwnerGone)
	}
}

// release forgets the owner. From then on this process is the tree's parent, and bound to
// nobody: it ends with the tree, and the tree with its proxy. An init does not do that: it
// ends with its proxy, and that with the owner.
//
//go:nosplit
//go:norace
func (r *Supervisor) release() {
	if r.killing || r.InitFlags != 0 {
		return
	}
	r.fds[atOwner].fd, r.fds[atChannel].fd = -1, -1
	tellOwner(r.Channel, OpReleased, 0, 0)
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
	if r.leaderExited && !r.started {
		return // until its start is known: its PID is not its own any more
	}
	sig := r.signal
	r.signal = 0
	switch {
	case sig == 0:
	case r.leaderExited:
		r.signalChildren(uintptr(sig))
	case r.Attr.Setsid: // see Setsid in package linux
		sys(_SYS_KILL, uintptr(-r.leader), uintptr(sig), 0, 0, 0)
	case r.ToGroup && sys(_SYS_KILL, uintptr(-r.leader), uintptr(sig), 0, 0, 0) != -int(_ESRCH):
	default: // also a leader that does not lead a group yet
		sys(_SYS_KILL, uintptr(r.leader), uintptr(sig), 0, 0, 0)
	}
}
