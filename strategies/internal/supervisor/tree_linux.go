package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
)

// CgroupError says why no process can be born in a cgroup of its own: nothing has been
// started, and nothing is left. It wraps errors.ErrUnsupported unless Err alone tells.
type CgroupError struct {
	// Own: Err is what package cgroupfs says of this process's own cgroup.
	Own bool
	// Group is the one that the leader was to be born in, "" if it could not be made.
	Group cgroupfs.Group
	Err   error
}

// Error says so.
func (e *CgroupError) Error() string { return fmt.Sprintf("no cgroup of its own: %v", e.Err) }

// Unwrap returns the cause.
func (e *CgroupError) Unwrap() []error {
	if e.Own {
		return []error{e.Err}
	}
	return []error{errors.ErrUnsupported, e.Err}
}

// RunInCgroup is Run with the leader in a cgroup of its own, which the supervisor kills at
// once. There is no trial birth: the leader's own is the trial.
func RunInCgroup(ctx context.Context, s *RunSpec) (Result, error) {
	own, err := cgroupfs.Own()
	if err == nil {
		err = own.Writable()
	}
	if err != nil {
		return Result{}, &CgroupError{Own: true, Err: err}
	}
	// The common case, and quicker than to be refused by mkdir.
	if err := unix.Faccessat(unix.AT_FDCWD, string(own), unix.W_OK, unix.AT_EACCESS); err == unix.EACCES || err == unix.EROFS {
		return Result{}, &CgroupError{Err: &os.PathError{Op: "mkdir below", Path: string(own), Err: err}}
	}
	tree, err := cgroupfs.MakeTreeAfterSweep(own)
	if err != nil {
		return Result{}, &CgroupError{Err: err}
	}
	defer tree.Lock.Close()
	r, err := runIn(ctx, s, tree)
	if !r.CgroupRemoved { // by a supervisor that was killed, say
		deadline := time.Now()
		if !r.Late { // else it has been tried for as long
			deadline = deadline.Add(KillDeadline)
		}
		_ = tree.End(deadline)
	}
	var failed *StartError
	if errors.As(err, &failed) && failed.Step == StepClone {
		err = &CgroupError{Group: tree.Group, Err: failed.Err}
	}
	return r, err
}

// runIn is Run with the leader in tree.
func runIn(ctx context.Context, s *RunSpec, tree *cgroupfs.Tree) (Result, error) {
	s.Cgroup, s.CgroupFD, s.LockFD = string(tree.Group), int(tree.Lock.Fd()), int(tree.Lock.Fd())
	// Before Linux 5.14 there is none; the supervisor then kills one by one.
	path := string(tree.Group) + "/cgroup.kill"
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		s.KillFD = fd
		defer unix.Close(fd)
	} else if err != unix.ENOENT {
		return Result{}, &CgroupError{Err: &os.PathError{Op: "open", Path: path, Err: err}}
	}
	return Run(ctx, s)
}
