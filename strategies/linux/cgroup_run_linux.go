package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

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
	tree, err := cgroupfs.MakeTreeAfterSweep(own)
	if err != nil {
		return none, cgroupError("run "+cmd.Path, fmt.Errorf("%w: %w%s", errors.ErrUnsupported, err, cgroupAdvice(err)))
	}
	defer tree.Lock.Close()
	i := &supervised{strategy: CgroupName}
	i.adjust = func(s *supervisor.Spec) error { return s.BeBornIn(tree) }
	res, err := i.run(ctx, cmd, opts)
	deadline := time.Now()
	if !errors.Is(err, registry.ErrLeft) { // else it has been tried for as long
		deadline = deadline.Add(registry.SupervisorKillDeadline)
	}
	_ = tree.End(deadline) // for a supervisor that could not
	var failed *supervisor.StartError
	if errors.As(err, &failed) && failed.Step == supervisor.StepClone {
		err = cgroupError("run "+cmd.Path, bornError(tree.Group, failed.Err))
	}
	return res, err
}
