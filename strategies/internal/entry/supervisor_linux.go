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
		r.flush()
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
	r.keep.closeOthers(max(r.MaxFD, r.supervisorPidfd))
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
// It is not opened before the command is started, nor for one that is over soon and
// leaves nobody: that saves a fiftieth of such a run.
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
	r.flush()
	exit(0)
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
			r.flush()
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
				r.signalLeader()
			}
		}
		if r.stopChanged { // after its start: the proxy stops until it hears more
			r.mirrorStop()
		}
		if r.leaderExited && !r.leaderReported {
			if r.Machine.OnLeaderExit == LeaderExitLeave && r.fds[atChannel].fd >= 0 {
				r.readChannel() // it may say that nobody is let go
				r.signalLeader()
			}
			r.leaderEnded()
		}
		r.startGrace()
		r.clocks()
		killing := r.killing
		r.decide()
		if r.over {
			r.flush()
			exit(0)
		}
		if r.killing && !killing {
			r.toOwner.send(r.Channel) // how the leader ended, before the rest does
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
// before the proxy of contain run is told that it was started. For /bin/true that saves a
// hundredth of the time and a twenty-fifth of the CPU time (medians of 1,300 pairs).
const overWithin = 2

// mayBeOver reports, once, whether the start of a command is all that the proxy is to
// be told, and nothing of it is urgent: the proxy then gives its streams up, which
// for a command that is over at once is work for nothing.
//
//go:nosplit
//go:norace
func (r *Supervisor) mayBeOver(ms int) bool {
	if r.Channel >= 0 || r.waitedForEnd || !r.started || r.toProxy.n != 1 || ms >= 0 {
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
		r.toProxy.add(Message{Op: OpMirror, A: r.leaderStatus, B: flags})
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
	r.over = r.over || a&Exit != 0 || a&ReportLate != 0 && r.ExitWhenLate
}
