package entry

import "unsafe"

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
