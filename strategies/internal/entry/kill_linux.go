package entry

import "unsafe"

// removeCgroup removes the leader's cgroup, if it has one, which is empty. One that
// the backend has divided remains, and goes with the next sweep.
//
//go:nosplit
//go:norace
func (r *Supervisor) removeCgroup() bool {
	return r.Cgroup == 0 || sys(_SYS_UNLINKAT, 0, r.Cgroup, _AT_REMOVEDIR, 0, 0) == 0
}

// killChildren kills every child. Their children become ours when they die, so
// that the next round finds them: nothing is looked up that could have been
// reused, and nothing can slip away.
//
//go:nosplit
//go:norace
func (r *Supervisor) killChildren() {
	if r.KillFD >= 0 {
		// All at once, whatever their uid; what moved itself out is below still.
		sys(_SYS_PWRITE64, uintptr(r.KillFD), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	}
	r.signalChildren(r.KillSignal)
}

// listAtOnce is how much of the list of children is read at a time: who forks and exits
// at every moment is not to be gone when its turn comes.
const listAtOnce = 128

// ended reports whether a child has ended, and leaves its status where it is.
//
//go:nosplit
//go:norace
func (r *Supervisor) ended(pid int) bool {
	r.upNext[siginfoPID] = 0
	e := sys(_SYS_WAITID, _P_PID, uintptr(pid), uintptr(unsafe.Pointer(&r.upNext[0])), _WEXITED|_WNOHANG|_WNOWAIT|_WALL, 0)
	if e < 0 && e != -_ECHILD && e != -_EINTR {
		r.unseen = true // a seccomp filter refuses waitid
	}
	return r.upNext[siginfoPID] != 0
}

// signalChildren sends sig to every child.
//
//go:nosplit
//go:norace
func (r *Supervisor) signalChildren(sig uintptr) {
	// Everyone in the namespace but its init, kill(2). In any process but that init
	// it would be everyone on the host.
	if r.InitFlags != 0 && r.supervisorPID == 1 {
		sys(_SYS_KILL, ^uintptr(0), sig, 0, 0, 0)
		return
	}
	r.openChildren()
	r.alive = 0
	sys(_SYS_LSEEK, uintptr(r.children), 0, _SEEK_SET, 0, 0)
	pid := 0
	for {
		n := sys(_SYS_READ, uintptr(r.children), uintptr(unsafe.Pointer(&r.buf[0])), listAtOnce, 0, 0)
		if n <= 0 {
			return
		}
		for i := 0; i < n && i < len(r.buf); i++ {
			c := r.buf[i]
			if c >= '0' && c <= '9' {
				pid = pid*10 + int(c-'0')
				continue
			}
			if pid > 0 && !(r.killing && r.ended(pid)) && sys(_SYS_KILL, uintptr(pid), sig, 0, 0, 0) == 0 {
				r.alive++
			}
			pid = 0
		}
	}
}
