//go:build linux && !386 && !amd64 && !arm64 && !riscv64

package entry

import "syscall"

const (
	_SYS_SENDTO   = syscall.SYS_SENDTO
	_SYS_RECVFROM = syscall.SYS_RECVFROM
)
