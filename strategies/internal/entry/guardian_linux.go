package entry

import "unsafe"

// forkGuarded makes this process the guardian of a supervisor, whose PID it returns;
// in the supervisor it returns 0. A guardian takes over if the supervisor is killed, as contain run
// itself does where it can be a subreaper: not where it came with children, as one
// does that has replaced a shell (sidecar & exec contain run …). It would then adopt
// what those leave, and could not tell that from what a supervisor has left.
//
//go:nosplit
//go:norace
func (r *Supervisor) forkGuarded() (supervisor int) {
	if !r.check(StepSubreaper, sys(_SYS_PRCTL, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) {
		return 0
	}
	if supervisor = fork(0); !r.check(StepFork, supervisor) {
		return 0
	}
	return supervisor
}

// guardian is the life of a guardian. It never returns. It has no descriptor, so
// that its life keeps nothing open, and no signal but SIGKILL ends it. If that does,
// contain run has the supervisor end its tree.
//
//go:nosplit
//go:norace
func (r *Supervisor) guardian(supervisor int) {
	sys(_SYS_SETSID, 0, 0, 0, 0, 0)
	sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGCONT), 0, 0, 0) // it may have been stopped
	closeRange(0, r.MaxFD)
	sys(_SYS_CHDIR, uintptr(unsafe.Pointer(&rootDir[0])), 0, 0, 0, 0)
	r.KillFD = -1
	for {
		var status uint32
		pid := sys(_SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), _WALL, 0, 0)
		switch {
		case pid == supervisor && status != 0: // killed, and what it had is this process's now
			if _, _, empty := endOrphansFunc(r, 0, -1, r.KillDeadline); !empty {
				exit(guardianLate)
			}
			exit(0)
		case pid == supervisor: // it has done its work, or has said what is left
			exit(0)
		case pid == -int(_ECHILD):
			exit(0)
		}
	}
}

// endOrphansFunc is a variable so that the linker takes it as a chain of its own: this
// process has a stack of some kilobytes, and the linker counts with a goroutine's.
var endOrphansFunc = (*Supervisor).EndOrphans

// guardianLate is the exit status of a guardian that could not end all in time.
const guardianLate = 1
