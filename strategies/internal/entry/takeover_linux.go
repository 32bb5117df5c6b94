package entry

import "unsafe"

// EndOrphans takes over from a supervisor that was killed: its children have become this
// process's, of which children is the list. It returns the leader's wait status, how
// many had to be killed, and whether all of them were gone within so many milliseconds.
//
//go:nosplit
//go:norace
func (r *Supervisor) EndOrphans(leader, children int, ms int64) (status uint32, forced int, empty bool) {
	r.children = children
	r.InitFlags = 0 // what an init sends to everyone would from here reach the whole host
	r.killing = true
	r.leaderStatus, r.forced = _SIGKILL, 0
	deadline := nowMillis(&r.ts) + ms
	for {
		r.killChildren()
		late := nowMillis(&r.ts) >= deadline
		if (r.alive == 0 || late || r.unseen) && r.reapOrphans(leader) { // see reap
			return r.leaderStatus, int(r.forced), true
		}
		if late {
			return r.leaderStatus, int(r.forced), false
		}
		poll(nil, 0, 1, &r.ts)
	}
}

// reapOrphans waits for children that have ended, and reports whether none is left.
//
//go:nosplit
//go:norace
func (r *Supervisor) reapOrphans(leader int) bool {
	for range reapAtOnceKilling {
		status := uint32(0)
		pid := sys(_SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), _WNOHANG|_WALL, 0, 0)
		switch {
		case pid == -_ECHILD:
			return true
		case pid <= 0 && pid != -_EINTR:
			return false
		case pid > 0 && pid == leader:
			r.leaderStatus = status
		}
		if pid > 0 && uintptr(status&0x7f) == r.KillSignal {
			r.forced++
		}
	}
	return false
}
