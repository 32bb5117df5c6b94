package linux

import (
	"context"
	"os/exec"

	"github.com/seed329817d7/contain/registry"
)

// Install implements [registry.Strategy].
func (subreaper) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	i, err := newSupervised(ctx, SubreaperName, 0, opts)
	if err == nil {
		i.cleanup, err = bind(SubreaperName, opts, &i.backends)
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Probe implements [registry.Prober]: it starts a supervisor that has nothing
// to supervise.
func (subreaper) Probe(ctx context.Context) error {
	_, err := newSupervised(ctx, SubreaperName, 0, registry.InstallOptions{})
	return err
}

// Run implements [registry.Runner]: this process is the proxy itself, so that
// only the supervisor is between it and the command.
func (subreaper) Run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	return (&supervised{strategy: SubreaperName}).run(ctx, cmd, opts)
}
