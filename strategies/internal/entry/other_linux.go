//go:build linux && !amd64 && !arm64 && !riscv64

package entry

import (
	"runtime"
	"syscall"
)

// On these architectures there is no entry of ours, and no first init: contain run forks
// its supervisor, and that is all of this package that is in use.
const ownStacks = false

//go:nosplit
//go:norace
//go:nocheckptr
func sys(nr, a, b, c, d, e uintptr) int {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, d, e, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

//go:nosplit
//go:norace
func fork(flags uintptr) int {
	if runtime.GOARCH == "s390x" { // CONFIG_CLONE_BACKWARDS2: the stack comes first
		return sys(_SYS_CLONE, 0, flags, 0, 0, 0)
	}
	return sys(_SYS_CLONE, flags, 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func (r *Supervisor) forkOntoStack() int { return -1 }

//go:nosplit
//go:norace
func (r *Supervisor) forkSharing() int { return -1 }
