package entry

// The kernel's constants, spelled as in package runtime: this package imports nothing
// that has them. They are the same on every architecture that Go supports but mips,
// which launch refuses.
const (
	_EPERM    = 1
	_ESRCH    = 3
	_EINTR    = 4
	_EBADF    = 9
	_ECHILD   = 10
	_EAGAIN   = 11
	_EACCES   = 13
	_EBUSY    = 16
	_EINVAL   = 22
	_ENODEV   = 19
	_ENOENT   = 2
	_EPROTO   = 71
	_ENOTSOCK = 88
	_ENOSYS   = 38
	_EXDEV    = 18

	_ENOTEMPTY    = 39
	_ECANCELED    = 125
	_EOPNOTSUPP   = 95
	_ECONNREFUSED = 111

	_SIGHUP    = 1
	_SIGINT    = 2
	_SIGKILL   = 9
	_SIGTERM   = 15
	_SIGSTKFLT = 16
	_SIGCHLD   = 17
	_SIGCONT   = 18
	_SIGSTOP   = 19

	_SIG_SETMASK = 2

	_POLLIN   = 1
	_POLLPRI  = 2
	_POLLOUT  = 4
	_POLLERR  = 8
	_POLLHUP  = 0x10
	_POLLNVAL = 0x20

	_AT_FDCWD     = -100
	_AT_REMOVEDIR = 0x200
	_O_RDONLY     = 0
	_O_WRONLY     = 1
	_O_RDWR       = 2
	_O_NONBLOCK   = 0x800
	_O_CLOEXEC    = 0x80000
	_SEEK_SET     = 0
	_F_GETFD      = 1
	_F_SETFD      = 2
	_FD_CLOEXEC   = 1
	_W_OK         = 2

	_CLONE_VM            = 0x100
	_CLONE_PIDFD         = 0x1000
	_CLONE_NEWNS         = 0x20000
	_CLONE_SETTLS        = 0x80000
	_CLONE_NEWUSER       = 0x10000000
	_CLONE_NEWPID        = 0x20000000
	_CLONE_CLEAR_SIGHAND = 0x100000000
	_CLONE_INTO_CGROUP   = 0x200000000

	_WNOHANG    = 1
	_WUNTRACED  = 2
	_WEXITED    = 4
	_WCONTINUED = 8
	_WNOWAIT    = 0x1000000
	_WALL       = 0x40000000
	_P_ALL      = 0
	_P_PID      = 1

	_PR_SET_PDEATHSIG       = 1
	_PR_GET_PDEATHSIG       = 2
	_PR_SET_DUMPABLE        = 4
	_PR_SET_KEEPCAPS        = 8
	_PR_SET_NAME            = 15
	_PR_SET_CHILD_SUBREAPER = 36
	_PR_CAP_AMBIENT         = 47
	_PR_CAP_AMBIENT_RAISE   = 2

	_LINUX_CAPABILITY_VERSION_3 = 0x20080522

	_MS_NOSUID  = 2
	_MS_NODEV   = 4
	_MS_NOEXEC  = 8
	_MS_REC     = 0x4000
	_MS_PRIVATE = 0x40000

	_TIOCSCTTY = 0x540e
	_TIOCNOTTY = 0x5422

	_RLIMIT_NOFILE   = 7
	_CLOCK_MONOTONIC = 1

	_AF_UNIX          = 1
	_SOCK_STREAM      = 1
	_SOCK_CLOEXEC     = _O_CLOEXEC
	_SOL_SOCKET       = 1
	_SO_PEERCRED      = 17
	_SCM_RIGHTS       = 1
	_MSG_DONTWAIT     = 0x40
	_MSG_NOSIGNAL     = 0x4000
	_MSG_CMSG_CLOEXEC = 0x40000000

	_PROT_READ     = 1
	_PROT_WRITE    = 2
	_MAP_PRIVATE   = 2
	_MAP_ANONYMOUS = 0x20
	_MADV_DONTNEED = 4

	_SFD_CLOEXEC  = _O_CLOEXEC
	_SFD_NONBLOCK = _O_NONBLOCK

	_SA_ONSTACK  = 0x08000000
	_SA_RESTORER = 0x04000000

	_AT_PHDR   = 3
	_AT_PHENT  = 4
	_AT_PHNUM  = 5
	_AT_SECURE = 23
	_AT_EXECFN = 31
)
