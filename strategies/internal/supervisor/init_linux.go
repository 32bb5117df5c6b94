package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	procName = [...]byte{'p', 'r', 'o', 'c', 0}
	procDir  = [...]byte{'/', 'p', 'r', 'o', 'c', 0}
)

// becomeInit prepares a supervisor that is the init of a PID namespace. The
// kernel ends the namespace with it, so it is tied to the proxy by a parent-death
// signal, as the proxy is to the owner: each link holds without any process of
// ours doing anything. A signal from the parent's namespace is delivered to an
// init even though it handles none, pid_namespaces(7).
//
//go:nosplit
//go:norace
func (r *rawState) becomeInit() {
	closeFD(r.mappedWrite) // or the proxy's end would not be the pipe's
	if r.mapped >= 0 {
		n := sys(unix.SYS_READ, uintptr(r.mapped), uintptr(unsafe.Pointer(&r.buf[0])), 1, 0, 0)
		if n != 1 {
			r.check(StepMaps, -int(unix.EPERM))
			return
		}
	}
	if !r.check(StepBind, sys(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)) {
		return
	}
	// The proxy may have died before; getppid is 0 here either way.
	r.fds[0] = pollFD{fd: int32(r.proxy), events: unix.POLLIN}
	if r.proxy < 0 || poll(&r.fds[0], 1, 0, &r.ts) != 0 {
		r.check(StepBind, -int(unix.ESRCH))
		return
	}
	// What is mounted here is not for others, and /proc shows this namespace.
	e := sys(unix.SYS_MOUNT, uintptr(unsafe.Pointer(&noneName[0])), uintptr(unsafe.Pointer(&rootDir[0])), 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	if e >= 0 {
		e = sys(unix.SYS_MOUNT, uintptr(unsafe.Pointer(&procName[0])), uintptr(unsafe.Pointer(&procDir[0])),
			uintptr(unsafe.Pointer(&procName[0])), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
	}
	r.check(StepProc, e)
}
