package entry

import "unsafe"

// lead is the leader's way to its exec; it never returns. If memory is shared with
// the supervisor, which goes on meanwhile, neither may write what the other reads,
// and the leader's stack has no more than its few kilobytes: all signals are
// blocked, so no handler needs it.
//
//go:nosplit
//go:norace
func lead() {
	if Raw.ProcsFD >= 0 { // 0 is the writer, cgroups(7)
		Raw.must(StepClone, sys(_SYS_WRITE, uintptr(Raw.ProcsFD), uintptr(unsafe.Pointer(&zero[0])), 1, 0, 0))
	}
	Raw.takeAttributes()
	Raw.must(StepCaps, Raw.raiseAmbient())
	Raw.must(StepChdir, Raw.changeDir())
	Raw.must(StepPdeathsig, Raw.bindToSupervisor())
	Raw.writePID()
	Raw.execute()
}

// takeAttributes makes the backend's first process what was asked for. The order
// of the steps, up to the exec, is that of the Go runtime's own fork and exec, so
// that the same attributes mean the same.
//
//go:nosplit
//go:norace
func (r *Supervisor) takeAttributes() {
	a := &r.Attr
	for sig := 1; sig <= NumSig; sig++ {
		if r.Ignored&(1<<(uint(sig)-1)) != 0 {
			setDisposition(sig, sigIgn, &r.act)
		}
	}
	if a.NumCaps > 0 { // keep permitted capabilities through the change of uid
		r.must(StepCaps, sys(_SYS_PRCTL, _PR_SET_KEEPCAPS, 1, 0, 0, 0))
	}
	if a.Setsid {
		r.must(StepSession, sys(_SYS_SETSID, 0, 0, 0, 0, 0))
	}
	if r.GroupOf >= 0 {
		r.must(StepGroup, sys(_SYS_SETPGID, 0, uintptr(r.GroupOf), 0, 0, 0))
	}
	if a.Foreground {
		r.must(StepForeground, r.toForeground())
	}
	if a.Unshared != 0 {
		r.must(StepUnshare, sys(_SYS_UNSHARE, uintptr(a.Unshared), 0, 0, 0, 0))
		if a.Unshared&_CLONE_NEWNS != 0 { // what it mounts is not for others
			r.must(StepUnshare, sys(_SYS_MOUNT, uintptr(unsafe.Pointer(&noneName[0])), uintptr(unsafe.Pointer(&rootDir[0])), 0, _MS_REC|_MS_PRIVATE, 0))
		}
	}
	if r.Chroot != 0 {
		r.must(StepChroot, sys(_SYS_CHROOT, r.Chroot, 0, 0, 0, 0))
	}
	if a.Credential {
		if !a.NoSetGroups {
			r.must(StepCredential, sys(_SYS_SETGROUPS, uintptr(a.NumGroups), a.Groups, 0, 0, 0))
		}
		r.must(StepCredential, sys(_SYS_SETGID, a.GID, 0, 0, 0, 0))
		r.must(StepCredential, sys(_SYS_SETUID, a.UID, 0, 0, 0, 0))
	}
}

//go:nosplit
//go:norace
func (r *Supervisor) changeDir() int {
	if r.Dir == 0 {
		return 0
	}
	return sys(_SYS_CHDIR, r.Dir, 0, 0, 0, 0)
}

// execute takes the leader from its last attributes to its exec. It never returns.
//
//go:nosplit
//go:norace
func (r *Supervisor) execute() {
	a := &r.Attr
	if a.Noctty {
		r.must(StepCtty, sys(_SYS_IOCTL, 0, _TIOCNOTTY, 0, 0, 0))
	}
	if a.Setctty {
		r.must(StepCtty, sys(_SYS_IOCTL, uintptr(a.Ctty), _TIOCSCTTY, 1, 0, 0))
	}
	if r.Nofile.Max != 0 {
		r.must(StepExec, sys(_SYS_PRLIMIT64, 0, _RLIMIT_NOFILE, uintptr(unsafe.Pointer(&r.Nofile)), 0, 0))
	}
	setMask(r.Mask)
	r.executing = true // see leaderExeced
	if r.CgroupFD >= 0 && !r.ShareMemory {
		r.says = Message{Op: OpExecuting}
		sys(_SYS_WRITE, uintptr(r.StatusWrite), uintptr(unsafe.Pointer(&r.says)), MessageSize, 0, 0)
	}
	r.must(StepExec, sys(_SYS_EXECVE, r.Path, r.Argv, r.Envp, 0, 0))
}

// writePID puts this process's PID where there is room for it in its environment.
//
//go:nosplit
//go:norace
func (r *Supervisor) writePID() {
	if r.PIDTexts[0] == 0 {
		return
	}
	pid := sys(_SYS_GETPID, 0, 0, 0, 0, 0)
	digits := uintptr(0)
	for n := pid; n > 0; n /= 10 {
		digits++
	}
	for i := 0; i < len(r.PIDTexts) && r.PIDTexts[i] != 0; i++ {
		poke(r.PIDTexts[i]+digits, 0)
		at := r.PIDTexts[i] + digits
		for n := pid; n > 0; n /= 10 {
			at--
			poke(at, byte('0'+n%10))
		}
	}
}

var noneName = [...]byte{'n', 'o', 'n', 'e', 0}

// must reports a failed step through the pipe that exec would have closed.
//
//go:nosplit
//go:norace
func (r *Supervisor) must(step Step, result int) {
	if result < 0 {
		r.says = Message{Op: OpFailed, A: uint32(step), B: uint32(-result)}
		sys(_SYS_WRITE, uintptr(r.StatusWrite), uintptr(unsafe.Pointer(&r.says)), MessageSize, 0, 0)
		for {
			sys(_SYS_EXIT_GROUP, 127, 0, 0, 0, 0)
		}
	}
}

// bindToSupervisor makes the kernel kill the leader when the supervisor dies:
// the line behind the last. The supervisor has one thread, so for once the
// parent-death signal means the process. It must follow every change of
// credentials, which clears it, PR_SET_PDEATHSIG(2const); and the supervisor may
// have died before it was set.
//
//go:nosplit
//go:norace
func (r *Supervisor) bindToSupervisor() int {
	if e := sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGKILL), 0, 0, 0); e < 0 {
		return e
	}
	// A SIGKILL to the group that it still shares must not reach the supervisor
	// once this process can have descendants.
	for r.GroupShared && r.Attr.CloneFlags&_CLONE_NEWPID == 0 {
		sid := sys(_SYS_GETSID, uintptr(r.supervisorPID), 0, 0, 0, 0)
		if sid < 0 || sid == r.supervisorPID {
			break
		}
		sys(_SYS_SCHED_YIELD, 0, 0, 0, 0, 0)
	}
	if r.Attr.CloneFlags&_CLONE_NEWPID != 0 {
		r.fds[0] = pollFD{fd: int32(r.supervisorPidfd), events: _POLLIN}
		if r.supervisorPidfd < 0 || poll(&r.fds[0], 1, 0, &r.ts) != 0 {
			return -int(_ESRCH)
		}
	} else if sys(_SYS_GETPPID, 0, 0, 0, 0, 0) != r.supervisorPID {
		return -int(_ESRCH)
	}
	return 0
}

//go:nosplit
//go:norace
func (r *Supervisor) toForeground() int {
	pgrp := int32(r.GroupOf)
	if pgrp == 0 {
		pgrp = int32(sys(_SYS_GETPID, 0, 0, 0, 0, 0))
	}
	return sys(_SYS_IOCTL, uintptr(r.Attr.ForegroundFD), _TIOCSPGRP, uintptr(unsafe.Pointer(&pgrp)), 0, 0)
}

type capHeader struct {
	version uint32
	pid     int32
}

type capData struct{ effective, permitted, inheritable uint32 }

// raiseAmbient adds capabilities to the inheritable and the ambient set,
// capabilities(7), "Ambient": Linux 4.3.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *Supervisor) raiseAmbient() int {
	if r.Attr.NumCaps == 0 {
		return 0
	}
	h := capHeader{version: _LINUX_CAPABILITY_VERSION_3}
	d := &r.caps
	if e := sys(_SYS_CAPGET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0, 0, 0); e < 0 {
		return e
	}
	for i := 0; i < r.Attr.NumCaps && i < NumCaps; i++ {
		c := r.Attr.Caps[i]
		d[(c>>5)&1].permitted |= 1 << (c & 31)
		d[(c>>5)&1].inheritable |= 1 << (c & 31)
	}
	if e := sys(_SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0, 0, 0); e < 0 {
		return e
	}
	for i := 0; i < r.Attr.NumCaps && i < NumCaps; i++ {
		c := r.Attr.Caps[i]
		if e := sys(_SYS_PRCTL, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); e < 0 {
			return e
		}
	}
	return 0
}

var zero = [...]byte{'0'}
