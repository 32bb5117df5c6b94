package drill

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// strangerUID is a user that nothing else is likely to run under, nor another
// driver, so that what RLIMIT_NPROC counts is the drill's own.
var strangerUID = 1_000_000 + os.Getpid()

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

// copyExecutable makes a copy that every user can execute: a test's is in a
// directory that only its own user may enter.
func copyExecutable(exe string) (path string, err error) {
	in, err := os.Open(exe)
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp("", "contain-drill-*")
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(0o755)
	}
	return out.Name(), err
}
