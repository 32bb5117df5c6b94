package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// run serves a process that exists for cmd alone.
func (i *supervised) run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	var none registry.RunResult
	if i.initFlags != 0 && opts.OnLeaderExit == registry.LeaderExitLeave {
		return none, i.error("run "+cmd.Path, fmt.Errorf("%w: nothing in a PID namespace can outlive its init, so what the leader leaves cannot be let go; name linux/subreaper", registry.ErrNotPassed))
	}
	spec, err := i.specFor(cmd, opts.OnLeaderExit)
	if err != nil {
		return none, i.attributeError("run "+cmd.Path, err)
	}
	if cmd.Env == nil && cmd.Dir == "" {
		spec.Env = supervisor.Environ()
	}
	run := &supervisor.RunSpec{
		Spec: *spec, Grace: opts.Grace, DieWithParent: opts.DieWithParent, ToGroup: opts.ToGroup,
		Rewrite: opts.Rewrite, Started: opts.Started,
	}
	if opts.OnLeaderExit == registry.LeaderExitTerm {
		run.EndRest = askDescendants
		if run.EndRestWithin = opts.Grace; opts.Grace < 0 {
			run.EndRestWithin = registry.ParentEndGrace
		}
	}
	if opts.OnForced != nil {
		run.OnForced = func(pid int, name string) { opts.OnForced(registry.Member{PID: pid, Name: name}) }
	}
	runBy := i.runBy
	if runBy == nil {
		runBy = supervisor.Run
	}
	res, err := runBy(ctx, run)
	if err != nil {
		return none, i.runError(cmd.Path, err)
	}
	out := registry.RunResult{ExitCode: -1, Forced: res.Forced}
	if res.Status.Signaled() {
		out.Signal = int(res.Status.Signal())
	} else {
		out.ExitCode = res.Status.ExitStatus()
	}
	if res.Late {
		return out, i.error("run "+cmd.Path, fmt.Errorf("%w %v after they were to be killed: what sleeps uninterruptibly ends when it wakes", registry.ErrLeft, spec.KillDeadline))
	}
	return out, nil
}

// askDescendants asks those below a supervisor, whose parent is this process, to end. It
// looks at whose child the number is: /proc may be that of another PID namespace.
func askDescendants(supervisor, parent int) {
	if s, err := proctree.Lookup(supervisor); err != nil || s.PPID != parent || s.Name != argv0Name {
		return
	}
	below, _ := proctree.Descendants(supervisor)
	for _, p := range proctree.Alive(below) {
		_ = proctree.Signal(p, unix.SIGTERM) // whoever it does not reach is ended by force
	}
}

// runError tells apart what the command caused, what the host lacks, and the rest.
func (i *supervised) runError(path string, err error) error {
	var own *registry.Error
	var failed *supervisor.StartError
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, supervisor.ErrParentGone):
		return i.error("run "+path, fmt.Errorf("%w; start it from a process that lives, or with --die-with-parent=false", err))
	case errors.Is(err, supervisor.ErrGroupShared):
		return i.error("run "+path, err)
	case errors.As(err, &failed) && failed.Step > supervisor.StepGuard:
		return execError(path, failed.Err)
	case errors.As(err, &failed) && failed.Step == supervisor.StepGuard:
		return i.error("run "+path, supervisor.ErrParentGone)
	default:
		return i.error("run "+path, fmt.Errorf("%w: %w: %w", errors.ErrUnsupported, registry.ErrSupervisor, err))
	}
}
