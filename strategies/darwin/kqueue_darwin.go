package darwin

import (
	"context"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/launch"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// Install implements [registry.Strategy]. It changes nothing about this process.
func (kqueue) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	return launch.Install(ctx, xnu.System{}, KqueueName, opts)
}

// Probe implements [registry.Prober].
func (k kqueue) Probe(ctx context.Context) error {
	_, err := k.Install(ctx, registry.InstallOptions{})
	return err
}
