//go:build linux && (arm64 || riscv64)

package entry

// The numbers of system calls, <asm-generic/unistd.h>. Package syscall has them too, but not all,
// and it is initialised where this package must have begun already.
const (
	_SYS_READ              = 63
	_SYS_WRITE             = 64
	_SYS_CLOSE             = 57
	_SYS_LSEEK             = 62
	_SYS_OPENAT            = 56
	_SYS_MMAP              = 222
	_SYS_MPROTECT          = 226
	_SYS_MUNMAP            = 215
	_SYS_MADVISE           = 233
	_SYS_RT_SIGACTION      = 134
	_SYS_RT_SIGPROCMASK    = 135
	_SYS_IOCTL             = 29
	_SYS_PWRITE64          = 68
	_SYS_PREAD64           = 67
	_SYS_PIPE2             = 59
	_SYS_DUP3              = 24
	_SYS_SCHED_YIELD       = 124
	_SYS_FCNTL             = 25
	_SYS_SOCKET            = 198
	_SYS_CONNECT           = 203
	_SYS_SENDTO            = 206
	_SYS_RECVFROM          = 207
	_SYS_SENDMSG           = 211
	_SYS_RECVMSG           = 212
	_SYS_GETSOCKOPT        = 209
	_SYS_SOCKETPAIR        = 199
	_SYS_SHUTDOWN          = 210
	_SYS_CLONE             = 220
	_SYS_CLONE3            = 435
	_SYS_EXECVE            = 221
	_SYS_EXIT              = 93
	_SYS_EXIT_GROUP        = 94
	_SYS_WAIT4             = 260
	_SYS_WAITID            = 95
	_SYS_KILL              = 129
	_SYS_TGKILL            = 131
	_SYS_UNSHARE           = 97
	_SYS_CHROOT            = 51
	_SYS_CHDIR             = 49
	_SYS_MOUNT             = 40
	_SYS_PRCTL             = 167
	_SYS_PRLIMIT64         = 261
	_SYS_SETSID            = 157
	_SYS_GETSID            = 156
	_SYS_SETPGID           = 154
	_SYS_GETPGID           = 155
	_SYS_GETPID            = 172
	_SYS_GETTID            = 178
	_SYS_GETPPID           = 173
	_SYS_GETUID            = 174
	_SYS_GETEUID           = 175
	_SYS_GETGID            = 176
	_SYS_GETEGID           = 177
	_SYS_SETUID            = 146
	_SYS_SETGID            = 144
	_SYS_SETGROUPS         = 159
	_SYS_CAPGET            = 90
	_SYS_CAPSET            = 91
	_SYS_UNLINKAT          = 35
	_SYS_CLOSE_RANGE       = 436
	_SYS_PPOLL             = 73
	_SYS_CLOCK_GETTIME     = 113
	_SYS_NANOSLEEP         = 101
	_SYS_PIDFD_OPEN        = 434
	_SYS_PIDFD_SEND_SIGNAL = 424
	_SYS_SIGNALFD4         = 74
	_SYS_GETDENTS64        = 61
	_SYS_READLINKAT        = 78
	_SYS_FACCESSAT         = 48
	_SYS_NEWFSTATAT        = 79
)

const _TIOCSPGRP = 0x5410

// statNlink is the place of st_nlink in the kernel's struct stat.
const statNlink = 20
