//go:build linux && !386 && !arm && !amd64 && !arm64 && !riscv64

package entry

import "syscall"

const (
	_SYS_SETUID    = syscall.SYS_SETUID
	_SYS_SETGID    = syscall.SYS_SETGID
	_SYS_SETGROUPS = syscall.SYS_SETGROUPS
)
