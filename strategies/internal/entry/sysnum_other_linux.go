//go:build linux && !amd64 && !arm64 && !riscv64

package entry

import "syscall"

const (
	_SYS_CAPGET            = syscall.SYS_CAPGET
	_SYS_CAPSET            = syscall.SYS_CAPSET
	_SYS_CHDIR             = syscall.SYS_CHDIR
	_SYS_CHROOT            = syscall.SYS_CHROOT
	_SYS_CLOCK_GETTIME     = syscall.SYS_CLOCK_GETTIME
	_SYS_CLONE             = syscall.SYS_CLONE
	_SYS_CLONE3            = 435
	_SYS_CLOSE             = syscall.SYS_CLOSE
	_SYS_CLOSE_RANGE       = 436
	_SYS_EXECVE            = syscall.SYS_EXECVE
	_SYS_EXIT_GROUP        = syscall.SYS_EXIT_GROUP
	_SYS_GETPID            = syscall.SYS_GETPID
	_SYS_GETPPID           = syscall.SYS_GETPPID
	_SYS_GETSID            = syscall.SYS_GETSID
	_SYS_IOCTL             = syscall.SYS_IOCTL
	_SYS_KILL              = syscall.SYS_KILL
	_SYS_LSEEK             = syscall.SYS_LSEEK
	_SYS_MOUNT             = syscall.SYS_MOUNT
	_SYS_OPENAT            = syscall.SYS_OPENAT
	_SYS_PIDFD_OPEN        = 434
	_SYS_PIDFD_SEND_SIGNAL = 424
	_SYS_PPOLL             = syscall.SYS_PPOLL
	_SYS_PRCTL             = syscall.SYS_PRCTL
	_SYS_PRLIMIT64         = syscall.SYS_PRLIMIT64
	_SYS_PWRITE64          = syscall.SYS_PWRITE64
	_SYS_READ              = syscall.SYS_READ
	_SYS_RT_SIGACTION      = syscall.SYS_RT_SIGACTION
	_SYS_RT_SIGPROCMASK    = syscall.SYS_RT_SIGPROCMASK
	_SYS_SCHED_YIELD       = syscall.SYS_SCHED_YIELD
	_SYS_SETPGID           = syscall.SYS_SETPGID
	_SYS_SETSID            = syscall.SYS_SETSID
	_SYS_UNLINKAT          = syscall.SYS_UNLINKAT
	_SYS_UNSHARE           = syscall.SYS_UNSHARE
	_SYS_WAIT4             = syscall.SYS_WAIT4
	_SYS_WAITID            = syscall.SYS_WAITID
	_SYS_WRITE             = syscall.SYS_WRITE

	_TIOCSPGRP = syscall.TIOCSPGRP
)
