//go:build linux && (386 || arm)

package supervisor

import "golang.org/x/sys/unix"

// The calls without "32" take 16-bit IDs on these two, setuid(2).
const (
	sysSetuid    = unix.SYS_SETUID32
	sysSetgid    = unix.SYS_SETGID32
	sysSetgroups = unix.SYS_SETGROUPS32
)
