package entry

// CloneTied, of InitFlags, are the flags of clone3(2) that tie an init to a pidfd, from
// Linux 7.1: the kernel kills it when the last copy of the descriptor is closed, be it
// by the end of whoever holds it. It demands that nobody waits for such a process
// (CLONE_AUTOREAP).
const CloneTied = cloneAutoreap | clonePidfdAutokill

// CloneNoNewPrivileges sets no_new_privs, PR_SET_NO_NEW_PRIVS(2const), without which only
// who has CAP_SYS_ADMIN may tie a process: one that gains privileges could else be killed
// by one that has none.
const CloneNoNewPrivileges = 1 << 35

const (
	cloneAutoreap      = 1 << 34
	clonePidfdAutokill = 1 << 36
)
