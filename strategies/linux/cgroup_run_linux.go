package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Run implements [registry.Runner]: as under linux/subreaper, with the command
// in a cgroup that the supervisor kills at once.
func (cgroup) Run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	if opts.OnLeaderExit == registry.LeaderExitLeave {
		return registry.RunResult{}, cgroupError("run "+cmd.Path, fmt.Errorf("%w: what the command leaves is to be let go, and would be in a cgroup that the next service here takes for left behind; linux/subreaper can do it", errors.ErrUnsupported))
	}
	return (&supervised{strategy: CgroupName, runBy: runInCgroup}).run(ctx, cmd, opts)
}

// runInCgroup says what to do about a cgroup that cannot be had.
func runInCgroup(ctx context.Context, s *supervisor.RunSpec) (supervisor.Result, error) {
	res, err := supervisor.RunInCgroup(ctx, s)
	var none *supervisor.CgroupError
	switch {
	case !errors.As(err, &none):
	case none.Own:
		err = cgroupError("run "+s.Path, none.Err)
	case none.Group != "":
		err = cgroupError("run "+s.Path, bornError(none.Group, none.Err))
	default:
		err = cgroupError("run "+s.Path, fmt.Errorf("%w: %w%s", errors.ErrUnsupported, none.Err, cgroupAdvice(none.Err)))
	}
	return res, err
}
