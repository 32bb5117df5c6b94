package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Run implements [registry.Runner]: as under linux/subreaper, with the command
// in a cgroup that the supervisor kills at once.
func (cgroup) Run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	var none registry.RunResult
	if opts.OnLeaderExit == registry.LeaderExitLeave {
		return none, cgroupError("run "+cmd.Path, fmt.Errorf("%w: what the command leaves is to be let go, and would be in a cgroup that the next service here takes for left behind; linux/subreaper can do it", errors.ErrUnsupported))
	}
	own, err := cgroupfs.Own()
	if err == nil {
		err = own.Writable()
	}
	if err != nil {
		return none, cgroupError("run "+cmd.Path, err)
	}
	// No trial birth: the command's own is the trial.
	tree, err := cgroupfs.MakeTree(own)
	if full := errors.Is(err, unix.EAGAIN); err == nil || full {
		// What a contain that was killed together with its supervisor left there: the
		// command may need what that holds, such as a port, or it is what fills the cgroup.
		_ = cgroupfs.Sweep(own, time.Now().Add(time.Second))
		if full {
			tree, err = cgroupfs.MakeTree(own)
		}
	}
	if err != nil {
		return none, cgroupError("run "+cmd.Path, fmt.Errorf("%w: %w%s", errors.ErrUnsupported, err, cgroupAdvice(err)))
	}
	defer tree.Lock.Close()
	defer tree.End(time.Now().Add(registry.SupervisorKillDeadline)) // only if the supervisor could not
	i := &supervised{strategy: CgroupName}
	i.adjust = func(s *supervisor.Spec) error { return intoTree(s, tree) }
	res, err := i.run(ctx, cmd, opts)
	var failed *supervisor.StartError
	if errors.As(err, &failed) && failed.Step == supervisor.StepClone {
		err = cgroupError("run "+cmd.Path, fmt.Errorf("%w: start a process in %s: %w%s", errors.ErrUnsupported, tree.Group, failed.Err, cgroupAdvice(failed.Err)))
	}
	return res, err
}

// intoTree has the leader born in tree.
func intoTree(s *supervisor.Spec, tree *cgroupfs.Tree) error {
	s.Cgroup, s.CgroupFD, s.LockFD = string(tree.Group), int(tree.Lock.Fd()), int(tree.Lock.Fd())
	// Before Linux 5.14 there is none; the supervisor then kills one by one.
	path := string(tree.Group) + "/cgroup.kill"
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		s.KillFD = fd
	} else if err != unix.ENOENT {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return nil
}
