//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

// ownStacks: the supervisor and the leader have stacks of their own.
const ownStacks = true

// The code that assembly has put in place, see prepare: a word that holds an
// address, and the address of that word, which is what a Go function value is.
var (
	systemCode, cloneCode, endThreadCode uintptr

	system    = &systemCode
	cloneOnto = &cloneCode
)

func prepare()

// sys makes a system call and returns its result, or -errno.
//
//go:nosplit
//go:norace
//go:nocheckptr
func sys(nr, a, b, c, d, e uintptr) int { return sys6(nr, a, b, c, d, e, 0) }

// sys6 is sys with six arguments.
//
//go:nosplit
//go:norace
//go:nocheckptr
func sys6(nr, a, b, c, d, e, f uintptr) int {
	call := *(*func(nr, a, b, c, d, e, f uintptr) int)(unsafe.Pointer(&system))
	return call(nr, a, b, c, d, e, f)
}

// cloneOntoStack is clone(2) or clone3(2), by number and first two arguments, for a
// child with a stack of its own. It returns the child's PID or -errno; the child calls then.
//
//go:nosplit
//go:norace
//go:nocheckptr
func cloneOntoStack(nr, a, b uintptr, then *func()) int {
	call := *(*func(nr, a, b, then uintptr) int)(unsafe.Pointer(&cloneOnto))
	return call(nr, a, b, *(*uintptr)(unsafe.Pointer(then)))
}

// fork is fork(2) with clone flags: 0 in the child, its PID in the parent, or -errno.
//
//go:nosplit
//go:norace
func fork(flags uintptr) int { return sys(_SYS_CLONE, flags, 0, 0, 0, 0) }

// What the children call. They are variables, and so not called directly: the linker
// would add the depth of one stack to the other's.
var (
	superviseFunc = supervise
	leadFunc      = lead
)

// supervise is what the supervisor does on its stack.
//
//go:nosplit
//go:norace
func supervise() { Raw.supervise() }

// stack is one for system calls and nothing else. The size is a multiple of what
// any architecture aligns a stack to.
type stack [1 << 10]struct {
	_ uint64
	_ uint64
}

var supervisorStack, leaderStack stack

// base is the lower end.
//
//go:nosplit
//go:norace
func (s *stack) base() uintptr { return uintptr(unsafe.Pointer(s)) }

// forkOntoStack is cloneSupervisor for a process with a Go runtime, whose handlers are not
// the supervisor's.
//
//go:nosplit
//go:norace
func (r *Supervisor) forkOntoStack() int {
	if r.InitFlags == 0 { // else clone(2), whose flags a seccomp profile can see
		r.EndContinues = true
		r.clone = cloneArgs{
			flags: _CLONE_CLEAR_SIGHAND, exitSignal: _SIGCONT,
			stack: uint64(supervisorStack.base()), stackSize: uint64(unsafe.Sizeof(supervisorStack)),
		}
		pid := cloneOntoStack(_SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), &superviseFunc)
		if pid >= 0 {
			return pid
		}
	}
	r.Reset = ^uint64(0) // Linux before 5.5, or a seccomp profile that refuses all of clone3
	return r.cloneSupervisor()
}

// cloneSupervisor is clone(2) for the supervisor, and returns in the proxy only. Its end
// continues the proxy, which somebody may have stopped: the signal about it is SIGCONT,
// exit_signal in clone(2).
//
//go:nosplit
//go:norace
func (r *Supervisor) cloneSupervisor() int {
	if r.EndContinues = !r.tied(); !r.EndContinues {
		return r.forkTied()
	}
	top := supervisorStack.base() + unsafe.Sizeof(supervisorStack)
	pid := cloneOntoStack(_SYS_CLONE, r.InitFlags|_SIGCONT, top, &superviseFunc)
	if pid == -_EINVAL { // QEMU's user mode, for one, knows no other signal than
		r.EndContinues = false
		pid = cloneOntoStack(_SYS_CLONE, r.InitFlags|_SIGCHLD, top, &superviseFunc)
	}
	return pid
}

// forkSharing is forkLeader for a leader that shares memory. It returns in the
// supervisor only.
//
//go:nosplit
//go:norace
func (r *Supervisor) forkSharing() int {
	if r.CgroupFD < 0 {
		return cloneOntoStack(_SYS_CLONE, _CLONE_VM|_SIGCHLD, leaderStack.base()+unsafe.Sizeof(leaderStack), &leadFunc)
	}
	r.clone = cloneArgs{
		flags: _CLONE_VM | _CLONE_INTO_CGROUP, exitSignal: _SIGCHLD, cgroup: uint64(r.CgroupFD),
		stack: uint64(leaderStack.base()), stackSize: uint64(unsafe.Sizeof(leaderStack)),
	}
	return cloneOntoStack(_SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), &leadFunc)
}
