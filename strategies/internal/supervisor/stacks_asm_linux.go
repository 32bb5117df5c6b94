//go:build linux && (amd64 || arm64)

package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownStacks: the supervisor and the leader have stacks of their own.
const ownStacks = true

// cloneOntoStack is clone(2) or clone3(2), by number, first two arguments and that
// for CLONE_SETTLS, for a child with a stack of its own. It returns the child's PID
// or -errno; the child calls supervise or, if leader is not 0, lead.
func cloneOntoStack(nr, a, b, tls, leader uintptr) int

// supervise is what the supervisor does on its stack.
//
//lint:ignore U1000 it is called from assembly
//go:nosplit
//go:norace
func supervise() { raw.supervise() }

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

// storage stands for the supervisor's thread-local storage where that of Go is in
// memory that is left out. Assembly that calls Go loads the current goroutine from it,
// which nothing here makes use of: without a C library, from the word before its middle.
var storage [8]uint64

// forkOntoStack is fork for the supervisor: it returns in the proxy only. The
// supervisor's end continues the proxy, which somebody may have stopped: the signal
// about it is SIGCONT, exit_signal in clone(2).
//
//go:nosplit
//go:norace
func (r *rawState) forkOntoStack() int {
	tls, set := uintptr(unsafe.Pointer(&storage[len(storage)/2])), uintptr(0)
	if r.leftOut {
		set = unix.CLONE_SETTLS
	}
	r.clone = cloneArgs{
		flags: unix.CLONE_CLEAR_SIGHAND | uint64(set), exitSignal: uint64(unix.SIGCONT), tls: uint64(tls),
		stack: uint64(supervisorStack.base()), stackSize: uint64(unsafe.Sizeof(supervisorStack)),
	}
	r.endContinues = true
	pid := -1
	if r.initflags == 0 { // else clone(2), whose flags a seccomp profile can see
		pid = cloneOntoStack(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0, 0)
	}
	if pid < 0 { // Linux before 5.5, or a seccomp profile that refuses all of clone3
		r.reset = ^uint64(0)
		top := supervisorStack.base() + unsafe.Sizeof(supervisorStack)
		pid = cloneOntoStack(unix.SYS_CLONE, r.initflags|set|uintptr(unix.SIGCONT), top, tls, 0)
		if pid == -int(unix.EINVAL) { // QEMU's user mode, for one, knows no other signal than
			r.endContinues = false
			pid = cloneOntoStack(unix.SYS_CLONE, r.initflags|set|uintptr(unix.SIGCHLD), top, tls, 0)
		}
	}
	return pid
}

// forkSharing is forkLeader for a leader that shares memory. It returns in the
// supervisor only.
//
//go:nosplit
//go:norace
func (r *rawState) forkSharing() int {
	if r.cgroupFD < 0 {
		return cloneOntoStack(unix.SYS_CLONE, unix.CLONE_VM|uintptr(unix.SIGCHLD), leaderStack.base()+unsafe.Sizeof(leaderStack), 0, 1)
	}
	r.clone = cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: uint64(r.cgroupFD),
		stack: uint64(leaderStack.base()), stackSize: uint64(unsafe.Sizeof(leaderStack)),
	}
	return cloneOntoStack(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), 0, 1)
}
