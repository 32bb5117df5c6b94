//go:build linux && (386 || arm)

package entry

import "syscall"

// The calls without "32" take 16-bit IDs on these two, setuid(2).
const (
	_SYS_SETUID    = syscall.SYS_SETUID32
	_SYS_SETGID    = syscall.SYS_SETGID32
	_SYS_SETGROUPS = syscall.SYS_SETGROUPS32
)
