package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// lead is the leader's way to its exec; it never returns. If memory is shared with
// the supervisor, which goes on meanwhile, neither may write what the other reads,
// and the leader's stack has no more than its few kilobytes: all signals are
// blocked, so no handler needs it.
//
//go:nosplit
//go:norace
func lead() {
	raw.takeAttributes()
	raw.must(StepCaps, raw.raiseAmbient())
	raw.must(StepChdir, raw.changeDir())
	raw.must(StepPdeathsig, raw.bindToSupervisor())
	raw.writePID()
	raw.execute()
}

// takeAttributes makes the backend's first process what was asked for. The order
// of the steps, up to the exec, is that of the Go runtime's own fork and exec, so
// that the same attributes mean the same.
//
//go:nosplit
//go:norace
func (r *rawState) takeAttributes() {
	a := &r.attr
	for sig := 1; sig <= numSig; sig++ {
		if r.ignored&(1<<(uint(sig)-1)) != 0 {
			setDisposition(sig, sigIgn, &r.act)
		}
	}
	if a.ncaps > 0 { // keep permitted capabilities through the change of uid
		r.must(StepCaps, sys(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0))
	}
	if a.setsid {
		r.must(StepSession, sys(unix.SYS_SETSID, 0, 0, 0, 0, 0))
	}
	if r.groupOf >= 0 {
		r.must(StepGroup, sys(unix.SYS_SETPGID, 0, uintptr(r.groupOf), 0, 0, 0))
	}
	if a.foreground {
		r.must(StepForeground, r.toForeground())
	}
	if a.unshared != 0 {
		r.must(StepUnshare, sys(unix.SYS_UNSHARE, uintptr(a.unshared), 0, 0, 0, 0))
		if a.unshared&unix.CLONE_NEWNS != 0 { // what it mounts is not for others
			r.must(StepUnshare, sys(unix.SYS_MOUNT, uintptr(unsafe.Pointer(&noneName[0])), uintptr(unsafe.Pointer(&rootDir[0])), 0, unix.MS_REC|unix.MS_PRIVATE, 0))
		}
	}
	if r.chroot != nil {
		r.must(StepChroot, sys(unix.SYS_CHROOT, uintptr(r.chroot), 0, 0, 0, 0))
	}
	if a.credential {
		if !a.noSetGroups {
			r.must(StepCredential, sys(sysSetgroups, uintptr(a.ngroups), uintptr(a.groups), 0, 0, 0))
		}
		r.must(StepCredential, sys(sysSetgid, a.gid, 0, 0, 0, 0))
		r.must(StepCredential, sys(sysSetuid, a.uid, 0, 0, 0, 0))
	}
}

//go:nosplit
//go:norace
func (r *rawState) changeDir() int {
	if r.dir == nil {
		return 0
	}
	return sys(unix.SYS_CHDIR, uintptr(r.dir), 0, 0, 0, 0)
}

// execute takes the leader from its last attributes to its exec. It never returns.
//
//go:nosplit
//go:norace
func (r *rawState) execute() {
	a := &r.attr
	if a.noctty {
		r.must(StepCtty, sys(unix.SYS_IOCTL, 0, unix.TIOCNOTTY, 0, 0, 0))
	}
	if a.setctty {
		r.must(StepCtty, sys(unix.SYS_IOCTL, uintptr(a.ctty), unix.TIOCSCTTY, 1, 0, 0))
	}
	if r.nofile.max != 0 {
		r.must(StepExec, sys(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&r.nofile)), 0, 0))
	}
	setMask(r.mask)
	r.executing = true // see leaderExeced
	if r.cgroupFD >= 0 && !r.shareMemory {
		r.says = Message{Op: OpExecuting}
		sys(unix.SYS_WRITE, uintptr(r.statusWrite), uintptr(unsafe.Pointer(&r.says)), MessageSize, 0, 0)
	}
	r.must(StepExec, sys(unix.SYS_EXECVE, uintptr(r.path), uintptr(r.argv), uintptr(r.envp), 0, 0))
}

// writePID puts this process's PID where markPID has made room for it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (r *rawState) writePID() {
	if r.pidTexts[0] == nil {
		return
	}
	pid := sys(unix.SYS_GETPID, 0, 0, 0, 0, 0)
	digits := 0
	for n := pid; n > 0; n /= 10 {
		digits++
	}
	for i := 0; i < len(r.pidTexts) && r.pidTexts[i] != nil; i++ {
		*(*byte)(unsafe.Add(r.pidTexts[i], digits)) = 0
		at := digits
		for n := pid; n > 0; n /= 10 {
			at--
			*(*byte)(unsafe.Add(r.pidTexts[i], at)) = byte('0' + n%10)
		}
	}
}

var noneName = [...]byte{'n', 'o', 'n', 'e', 0}

// must reports a failed step through the pipe that exec would have closed.
//
//go:nosplit
//go:norace
func (r *rawState) must(step Step, result int) {
	if result < 0 {
		r.says = Message{Op: OpFailed, A: uint32(step), B: uint32(-result)}
		sys(unix.SYS_WRITE, uintptr(r.statusWrite), uintptr(unsafe.Pointer(&r.says)), MessageSize, 0, 0)
		for {
			sys(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0)
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
func (r *rawState) bindToSupervisor() int {
	if e := sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); e < 0 {
		return e
	}
	// A SIGKILL to the group that it still shares must not reach the supervisor
	// once this process can have descendants.
	for r.groupShared && r.cloneflags&unix.CLONE_NEWPID == 0 {
		sid := sys(unix.SYS_GETSID, uintptr(r.supervisorPID), 0, 0, 0, 0)
		if sid < 0 || sid == r.supervisorPID {
			break
		}
		sys(unix.SYS_SCHED_YIELD, 0, 0, 0, 0, 0)
	}
	if r.cloneflags&unix.CLONE_NEWPID != 0 {
		r.fds[0] = pollFD{fd: int32(r.supervisorPidfd), events: unix.POLLIN}
		if r.supervisorPidfd < 0 || poll(&r.fds[0], 1, 0, &r.ts) != 0 {
			return -int(unix.ESRCH)
		}
	} else if sys(unix.SYS_GETPPID, 0, 0, 0, 0, 0) != r.supervisorPID {
		return -int(unix.ESRCH)
	}
	return 0
}

//go:nosplit
//go:norace
func (r *rawState) toForeground() int {
	pgrp := int32(r.groupOf)
	if pgrp == 0 {
		pgrp = int32(sys(unix.SYS_GETPID, 0, 0, 0, 0, 0))
	}
	return sys(unix.SYS_IOCTL, uintptr(r.attr.foregroundFD), unix.TIOCSPGRP, uintptr(unsafe.Pointer(&pgrp)), 0, 0)
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
func (r *rawState) raiseAmbient() int {
	if r.attr.ncaps == 0 {
		return 0
	}
	h := capHeader{version: unix.LINUX_CAPABILITY_VERSION_3}
	d := &r.caps
	if e := sys(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0, 0, 0); e < 0 {
		return e
	}
	for i := 0; i < r.attr.ncaps && i < numCaps; i++ {
		c := r.attr.caps[i]
		d[(c>>5)&1].permitted |= 1 << (c & 31)
		d[(c>>5)&1].inheritable |= 1 << (c & 31)
	}
	if e := sys(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0, 0, 0); e < 0 {
		return e
	}
	for i := 0; i < r.attr.ncaps && i < numCaps; i++ {
		c := r.attr.caps[i]
		if e := sys(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); e < 0 {
			return e
		}
	}
	return 0
}
