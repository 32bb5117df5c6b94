package containment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// RunOptions are the choices of [Run]. The zero value takes the strongest strategy that works
// here, at least owner-killed=tree, and ends by force, at once, what is left when the
// command has ended or this process gets SIGTERM.
type RunOptions struct {
	// Strategy, Require, BestEffort, Registry and Logger are as in [Config]. One line is
	// logged, when the command has been started; or before, and as a warning, if what is in
	// force is less than owner-killed=tree.
	Strategy   string
	Require    []registry.Requirement
	BestEffort bool
	Registry   *registry.Registry
	Logger     *slog.Logger

	// How the command is run.
	registry.RunOptions
}

// config is what decides under which strategy. This process is bound to its parent by
// registry.RunOptions.DieWithParent or not at all.
func (o RunOptions) config() Config {
	return Config{
		Strategy: o.Strategy, Require: o.Require, BestEffort: o.BestEffort, Registry: o.Registry, Logger: o.Logger,
		OutliveParent: true,
	}
}

// Run runs one command to its end under the strongest strategy, for a process
// that exists for nothing else, as contain run does. The command gets this
// process's standard streams where cmd has none. Signals that this process
// receives are passed on to the command; SIGTERM starts opts.Grace. Run returns
// when nothing is left of what opts promises to end. A strategy that is a
// [registry.Runner] does all this itself.
//
// If the command could not be started the error is that of exec.Cmd.Start,
// wrapped, and RunResult.ExitCode is -1.
func Run(ctx context.Context, cmd *exec.Cmd, opts RunOptions) (registry.RunResult, error) {
	if err := registry.Startable(cmd); err != nil {
		return registry.RunResult{ExitCode: -1}, &registry.Error{Op: "run", Err: err}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ownStreams(cmd)
	r := &run{cfg: opts.config(), cmd: cmd, opts: opts.RunOptions}
	if _, err := r.cfg.resolve(ctx, r.try); err != nil {
		return registry.RunResult{ExitCode: -1}, err
	}
	return r.result, r.err
}

func ownStreams(cmd *exec.Cmd) (in io.Reader, out, errs io.Writer) {
	in, out, errs = cmd.Stdin, cmd.Stdout, cmd.Stderr
	if in == nil {
		in = os.Stdin
	}
	if out == nil {
		out = os.Stdout
	}
	if errs == nil {
		errs = os.Stderr
	}
	return in, out, errs
}

// run is one call of Run.
type run struct {
	cfg   Config
	cmd   *exec.Cmd
	opts  registry.RunOptions
	begun bool // the command has been started

	result registry.RunResult
	err    error
}

// try runs the command under the strategy that res ends with. Its own error means that
// nothing was started and the next strategy may be tried; how the command ended is in r.
func (r *run) try(ctx context.Context, res registry.Resolution) error {
	d := res.Description
	if runner, ok := res.Strategy.(registry.Runner); ok {
		r.warnIfWeak(ctx, res)
		opts := r.opts
		opts.Started = func() { r.started(ctx, res) }
		result, err := runner.Run(ctx, r.cmd, opts)
		if errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		// Whatever else it says, the command may have run: never run it again.
		if err != nil && result == (registry.RunResult{}) {
			result.ExitCode = -1
		}
		if err == nil || r.begun {
			result.Strategy = d.Name
		}
		r.result, r.err = result, err
		return nil
	}
	if r.opts.ToGroup {
		return fmt.Errorf("%w: signals go to the command alone, not to its process group (RunOptions.ToGroup)", errors.ErrUnsupported)
	}
	in, err := r.cfg.attempt(ctx, res.Strategy)
	if err != nil {
		return err
	}
	r.warnIfWeak(ctx, res)
	r.result, r.err = r.under(ctx, in, res)
	if r.begun {
		r.result.Strategy = d.Name
	}
	return nil
}

func (r *run) warnIfWeak(ctx context.Context, res registry.Resolution) {
	if weak(res.Description) {
		r.cfg.announce(ctx, res, nil)
	}
}

// started says what is in force, unless it was said as a warning.
func (r *run) started(ctx context.Context, res registry.Resolution) {
	r.begun = true
	if !weak(res.Description) {
		r.cfg.announce(ctx, res, nil)
	}
	if r.opts.Started != nil {
		r.opts.Started()
	}
}

// under runs the command under an installation, for strategies that are no Runner.
func (r *run) under(ctx context.Context, in registry.Installation, res registry.Resolution) (registry.RunResult, error) {
	signals, release := catchSignals(r.cmd) // before the start, so that none is missed
	defer release()
	g := &guard{opts: r.opts, forced: make(map[int]bool)}
	err := r.guarded(ctx, in, res, g, signals)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), registry.SupervisorKillDeadline)
	defer cancel()
	if closeErr := in.Close(closing); closeErr != nil {
		err = compose(err, closeErr)
	}
	return result(r.cmd.ProcessState, len(g.forced)), err
}

// guarded starts the command, once the parent is watched, and waits for its end.
func (r *run) guarded(ctx context.Context, in registry.Installation, res registry.Resolution, g *guard, signals <-chan os.Signal) error {
	over := make(chan struct{})
	defer close(over)
	orphaned, err := parentGone(r.opts.DieWithParent, over)
	if err != nil {
		return &registry.Error{Op: "run " + r.cmd.Path, Err: err}
	}
	rest := r.opts.Grace
	if rest < 0 {
		rest = registry.ParentEndGrace
	}
	if g.proc, err = registry.Start(in, r.cmd, registry.StartOptions{OnLeaderExit: r.opts.OnLeaderExit, Grace: rest}); err != nil {
		return err
	}
	r.started(ctx, res)
	return g.untilGone(ctx, r.cmd, signals, orphaned)
}

func result(state *os.ProcessState, forced int) registry.RunResult {
	if state == nil {
		return registry.RunResult{ExitCode: -1, Forced: forced}
	}
	return registry.RunResult{ExitCode: state.ExitCode(), Signal: fatalSignal(state), Forced: forced}
}

// A guard watches over the one backend of Run.
type guard struct {
	opts   registry.RunOptions
	proc   registry.Process
	forced map[int]bool
	waited int              // the leader's PID, once it has been waited for
	alarm  <-chan time.Time // the grace is over
	limit  <-chan time.Time // the kill deadline is over
}

// untilGone returns when the leader has been waited for and nothing of the
// backend is left, or could not be ended within the kill deadline.
func (g *guard) untilGone(ctx context.Context, cmd *exec.Cmd, signals <-chan os.Signal, orphaned <-chan struct{}) (err error) {
	leader := make(chan error, 1)
	go func() { leader <- cmd.Wait() }()
	gone, cancelled := g.proc.Done(), ctx.Done()
	for leader != nil || gone != nil {
		select {
		case sig := <-signals:
			g.forward(sig)
		case <-g.alarm:
			g.kill()
		case <-orphaned:
			orphaned = nil
			g.orphan()
		case <-cancelled:
			cancelled, err = nil, ctx.Err()
			g.kill()
		case status := <-leader:
			leader, g.waited = nil, g.proc.PID()
			if exit := (*exec.ExitError)(nil); err == nil && !errors.As(status, &exit) {
				err = status
			}
			if g.opts.OnLeaderExit == registry.LeaderExitKill {
				g.kill()
			}
		case <-gone:
			gone = nil
		case <-g.limit:
			left, _ := g.proc.Members()
			return compose(err, &registry.Error{Op: "run " + cmd.Path, Err: fmt.Errorf("%w: %s", ErrLeft, memberList(left))})
		}
	}
	return err
}

// forward passes a signal on to the leader, as opts.Rewrite says. Once that has
// exited, SIGTERM is for what it has left.
func (g *guard) forward(sig os.Signal) {
	number, _ := sig.(syscall.Signal)
	to, rewritten := g.opts.Rewrite[number]
	if rewritten && to == 0 {
		return
	}
	if sig == syscall.SIGTERM && g.alarm == nil && g.opts.Grace >= 0 {
		g.alarm = time.After(g.opts.Grace)
	}
	if sig == syscall.SIGTERM && g.waited != 0 {
		_ = g.proc.Terminate() // it is not promised to reach everybody; the alarm is
		return
	}
	if rewritten {
		sig = to
	}
	_ = g.proc.Signal(sig) // a leader that has just exited is no failure
}

// orphan ends the backend because the parent has ended: by what it gets for a
// SIGTERM and a grace, or at once if it cannot be asked.
func (g *guard) orphan() {
	grace := g.opts.Grace
	if grace < 0 {
		grace = registry.ParentEndGrace
	}
	g.alarm = time.After(grace)
	ask := g.proc.Terminate
	if g.waited == 0 {
		sig, rewritten := g.opts.Rewrite[syscall.SIGTERM]
		switch {
		case !rewritten:
			sig = syscall.SIGTERM
		case sig == 0:
			return
		}
		ask = func() error { return g.proc.Signal(sig) }
	}
	if errors.Is(ask(), errors.ErrUnsupported) {
		g.kill()
	}
}

// kill ends what is alive, and starts the clock of the kill deadline.
func (g *guard) kill() {
	members, _ := g.proc.Members() // to count and name them only
	for _, m := range members {
		if m.PID == g.waited || g.forced[m.PID] { // it may not have been noticed that it is gone
			continue
		}
		g.forced[m.PID] = true
		if g.opts.OnForced != nil {
			g.opts.OnForced(m)
		}
	}
	_ = g.proc.Kill() // if it did not work, the limit will tell
	if g.limit == nil {
		g.limit = time.After(registry.SupervisorKillDeadline)
	}
}
