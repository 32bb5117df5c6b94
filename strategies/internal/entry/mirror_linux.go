package entry

import "unsafe"

// untold are messages to one process. What becomes known together is told together: of a
// command that is over soon the proxy hears at once that it was started and how it ended,
// wakes up once, and has nothing to prepare for its life. Nothing may be left when this
// process waits or ends.
type untold struct {
	messages [6]Message // no more kinds become known together
	n        int
}

//go:nosplit
//go:norace
func (u *untold) add(m Message) {
	if u.n < len(u.messages) {
		u.messages[u.n] = m
		u.n++
	}
}

// send tells the owner, but not that this process has begun: that waits for what comes
// next. sendto, not write: a peer that has gone must not raise SIGPIPE. A
// full or closed channel is the reader's loss; the supervisor never waits for it.
//
//go:nosplit
//go:norace
func (u *untold) send(channel int) {
	if u.n == 1 && u.messages[0].Op == OpHello {
		return
	}
	if u.n > 0 && channel >= 0 {
		sys(_SYS_SENDTO, uintptr(channel), uintptr(unsafe.Pointer(&u.messages)), uintptr(u.n)*MessageSize, _MSG_NOSIGNAL|_MSG_DONTWAIT, 0)
	}
	u.n = 0
}

// tellOwner tells the owner at once, with what has been put aside for it.
//
//go:nosplit
//go:norace
func tellOwner(channel int, op Op, a, b uint32) {
	Raw.toOwner.add(Message{Op: op, A: a, B: b})
	Raw.toOwner.send(channel)
}

// tell puts a message to the owner and to the proxy aside.
//
//go:nosplit
//go:norace
func (r *Supervisor) tell(op Op, a, b uint32) {
	r.toOwner.add(Message{Op: op, A: a, B: b})
	r.toProxy.add(Message{Op: op, A: a, B: b})
}

// flush tells both what has been put aside.
//
//go:nosplit
//go:norace
func (r *Supervisor) flush() {
	r.toOwner.send(r.Channel)
	if r.toProxy.n > 0 {
		sys(_SYS_WRITE, uintptr(r.Mirror), uintptr(unsafe.Pointer(&r.toProxy.messages)), uintptr(r.toProxy.n)*MessageSize, 0, 0)
		r.toProxy.n = 0
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
		r.toProxy.add(Message{Op: OpStopped, A: a})
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
	r.toOwner.add(Message{Op: OpLeader, A: r.leaderStatus})
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
	tellOwner(r.Channel, OpLeader, status, 0)
}
