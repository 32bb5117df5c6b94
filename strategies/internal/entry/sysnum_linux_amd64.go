package entry

// The numbers of system calls, <asm/unistd.h>. Package syscall has them too, but not all,
// and it is initialised where this package must have begun already.
const (
	_SYS_READ              = 0
	_SYS_WRITE             = 1
	_SYS_CLOSE             = 3
	_SYS_LSEEK             = 8
	_SYS_OPENAT            = 257
	_SYS_MMAP              = 9
	_SYS_MPROTECT          = 10
	_SYS_MUNMAP            = 11
	_SYS_MADVISE           = 28
	_SYS_RT_SIGACTION      = 13
	_SYS_RT_SIGPROCMASK    = 14
	_SYS_IOCTL             = 16
	_SYS_PWRITE64          = 18
	_SYS_PREAD64           = 17
	_SYS_PIPE2             = 293
	_SYS_DUP3              = 292
	_SYS_SCHED_YIELD       = 24
	_SYS_FCNTL             = 72
	_SYS_SOCKET            = 41
	_SYS_CONNECT           = 42
	_SYS_SENDTO            = 44
	_SYS_RECVFROM          = 45
	_SYS_SENDMSG           = 46
	_SYS_RECVMSG           = 47
	_SYS_GETSOCKOPT        = 55
	_SYS_SOCKETPAIR        = 53
	_SYS_SHUTDOWN          = 48
	_SYS_CLONE             = 56
	_SYS_CLONE3            = 435
	_SYS_EXECVE            = 59
	_SYS_EXIT              = 60
	_SYS_EXIT_GROUP        = 231
	_SYS_WAIT4             = 61
	_SYS_WAITID            = 247
	_SYS_KILL              = 62
	_SYS_TGKILL            = 234
	_SYS_UNSHARE           = 272
	_SYS_CHROOT            = 161
	_SYS_CHDIR             = 80
	_SYS_MOUNT             = 165
	_SYS_PRCTL             = 157
	_SYS_PRLIMIT64         = 302
	_SYS_SETSID            = 112
	_SYS_GETSID            = 124
	_SYS_SETPGID           = 109
	_SYS_GETPGID           = 121
	_SYS_GETPID            = 39
	_SYS_GETTID            = 186
	_SYS_GETPPID           = 110
	_SYS_GETUID            = 102
	_SYS_GETEUID           = 107
	_SYS_GETGID            = 104
	_SYS_GETEGID           = 108
	_SYS_SETUID            = 105
	_SYS_SETGID            = 106
	_SYS_SETGROUPS         = 116
	_SYS_CAPGET            = 125
	_SYS_CAPSET            = 126
	_SYS_UNLINKAT          = 263
	_SYS_CLOSE_RANGE       = 436
	_SYS_PPOLL             = 271
	_SYS_CLOCK_GETTIME     = 228
	_SYS_NANOSLEEP         = 35
	_SYS_PIDFD_OPEN        = 434
	_SYS_PIDFD_SEND_SIGNAL = 424
	_SYS_SIGNALFD4         = 289
	_SYS_GETDENTS64        = 217
	_SYS_READLINKAT        = 267
	_SYS_FACCESSAT         = 269
	_SYS_NEWFSTATAT        = 262
)

const _O_DIRECTORY = 0x10000
const _TIOCSPGRP = 0x5410

// statNlink is the place of st_nlink in the kernel's struct stat.
const statNlink = 16
