package linux

import (
	"cmp"
	"context"
	"errors"
	"os/exec"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// supervised is the installation of every strategy whose backends run below a
// supervisor of their own.
type supervised struct {
	strategy   string
	cleanup    registry.Cleanup
	executable string // the path of the supervisor's, see ownExecutable
	image      int    // a descriptor of it, never closed
	// initFlags makes the supervisor the init of a PID namespace, and ties the
	// proxy to this process by a parent-death signal.
	initFlags uint64
	// runBy, if not nil, is what Run runs in place of supervisor.Run.
	runBy    func(context.Context, *supervisor.RunSpec) (supervisor.Result, error)
	backends backends.Set
}

// newSupervised finds the executable that serves as the supervisor and starts
// it once, to see that it does.
func newSupervised(ctx context.Context, strategy string, initFlags uint64, opts registry.InstallOptions) (*supervised, error) {
	i, err := findSupervisor(strategy, initFlags, opts)
	if err == nil {
		err = i.probe(ctx)
	}
	if err != nil {
		return nil, (&supervised{strategy: strategy}).error("install", err)
	}
	return i, nil
}

// error wraps err unless it is wrapped already.
func (i *supervised) error(op string, err error) error {
	var own *registry.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &registry.Error{Op: op, Strategy: i.strategy, Err: err}
}

// tied reports whether supervisors are tied to a pidfd of theirs.
func (i *supervised) tied() bool { return i.initFlags&entry.CloneTied != 0 }

func (i *supervised) Cleanup() registry.Cleanup { return i.cleanup }

// SupervisorWay implements [registry.Supervised].
func (i *supervised) SupervisorWay() string {
	return probeKey{i.executable, i.image, i.initFlags, false}.way()
}

func (i *supervised) Close(ctx context.Context) error {
	return i.backends.Close(ctx, i.strategy)
}

func (i *supervised) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := i.backends.Begin("start "+cmd.Path, i.strategy); err != nil {
		return nil, err
	}
	defer i.backends.End()
	spec, err := i.admit(cmd, opts)
	if err != nil {
		return nil, registry.Refuse(cmd, err)
	}
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return nil, err
	}
	before := *cmd
	if err := h.start(cmd); err != nil {
		return nil, err
	}
	m, err := h.shake(i.backends.Closing())
	if err != nil {
		h.giveUp(cmd)
		return nil, cmp.Or(contextEnded(&before), err)
	}
	t := newTree(h, cmd, &i.backends)
	t.started(m) // before a Close can see it: that ends what it knows of
	t.ask(opts)
	i.backends.Add(t)
	go t.follow()
	return t, nil
}

// admit describes cmd to the supervisor, or says what speaks against a start.
func (i *supervised) admit(cmd *exec.Cmd, opts registry.StartOptions) (*supervisor.Spec, error) {
	var spec *supervisor.Spec
	err := i.passable(opts)
	if err == nil {
		spec, err = i.specFor(cmd, opts.OnLeaderExit)
	}
	return spec, i.attributeError("start "+cmd.Path, err)
}

// attributeError names the strategy in an error about what cannot be passed,
// and leaves those that os/exec would have returned as they are.
func (i *supervised) attributeError(op string, err error) error {
	if errors.Is(err, registry.ErrNotPassed) || errors.Is(err, errors.ErrUnsupported) {
		return i.error(op, err)
	}
	return err
}
