package entry

import "unsafe"

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
func (r *Supervisor) becomeInit() {
	closeFD(r.MappedWrite) // or the proxy's end would not be the pipe's
	if r.Mapped >= 0 {
		n := sys(_SYS_READ, uintptr(r.Mapped), uintptr(unsafe.Pointer(&r.buf[0])), 1, 0, 0)
		if n != 1 {
			r.check(StepMaps, -int(_EPERM))
			return
		}
	}
	if !r.check(StepBind, sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGKILL), 0, 0, 0)) {
		return
	}
	// The proxy may have died before; getppid is 0 here either way.
	r.fds[0] = pollFD{fd: int32(r.Proxy), events: _POLLIN}
	if r.Proxy < 0 || poll(&r.fds[0], 1, 0, &r.ts) != 0 {
		r.check(StepBind, -int(_ESRCH))
		return
	}
	// What is mounted here is not for others, and /proc shows this namespace.
	e := sys(_SYS_MOUNT, uintptr(unsafe.Pointer(&noneName[0])), uintptr(unsafe.Pointer(&rootDir[0])), 0, _MS_REC|_MS_PRIVATE, 0)
	if e >= 0 {
		e = sys(_SYS_MOUNT, uintptr(unsafe.Pointer(&procName[0])), uintptr(unsafe.Pointer(&procDir[0])),
			uintptr(unsafe.Pointer(&procName[0])), _MS_NOSUID|_MS_NODEV|_MS_NOEXEC, 0)
	}
	r.check(StepProc, e)
}

// tied reports whether the supervisor is to be an init that is tied to r.Tie.
//
//go:nosplit
//go:norace
func (r *Supervisor) tied() bool { return uint64(r.InitFlags)&clonePidfdAutokill != 0 }
