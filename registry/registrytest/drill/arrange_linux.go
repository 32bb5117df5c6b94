package drill

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits that are low but leave room for a drill. A Go program has some ten
// threads, and each counts as a process.
const (
	fewFiles     = 24
	fewProcesses = 40
)

// arrange puts the owner into its circumstances: it returns the script of the
// process to start, and what that needs in its exec.Cmd.
func arrange(owner *script, d Drill) (first *script, adapt func(*exec.Cmd)) {
	attr := &syscall.SysProcAttr{}
	adapt = func(cmd *exec.Cmd) { cmd.SysProcAttr = attr }
	first = owner
	switch d.Owner {
	case ownerNobody:
		attr.Credential = credential(strangerUID)
	case ownerDropped:
		owner.DropTo = strangerUID
	case ownerFiles:
		owner.Limit = &rlimits{Files: fewFiles}
	case ownerProcs:
		attr.Credential = credential(strangerUID)
		owner.Limit = &rlimits{Processes: fewProcesses}
	case ownerPID1:
		attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
		owner.Proc = true
	case ownerReaper, ownerNoReaper:
		attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
		first = &script{Role: roleInit, Proc: true, Reap: d.Owner == ownerReaper, Next: owner}
	case ownerNested:
		inner := &script{Role: roleInit, Next: owner}
		first = &script{Role: roleOuter, Strategy: d.Strategy, Next: inner}
	}
	return first, adapt
}
