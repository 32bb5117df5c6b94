package standin_test

import (
	"context"
	"os"
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/darwin"
	"github.com/seed329817d7/contain/strategies/darwin/internal/entry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/launch"
	"github.com/seed329817d7/contain/strategies/darwin/internal/standin"
)

func init() {
	entry.Enter(standin.New())
	registrytest.Main(strategy{})
}

// strategy is darwin/kqueue over the stand-in: the same declaration, the same code
// above the table.
type strategy struct{}

const name = "linux/kqueue-standin"

func (strategy) Describe() registry.Description {
	d := darwin.Kqueue().Describe()
	d.Name, d.Platform = name, registry.PlatformLinux
	return d
}

func (strategy) Target() registry.Cleanup { return darwin.Kqueue().Target() }

func (strategy) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	return launch.Install(ctx, standin.New(), name, opts)
}

func (strategy) Probe(context.Context) error { return standin.Works() }

// TestConformanceOverLinux holds every drill for what darwin/kqueue declares. It is
// no proof for macOS. It takes minutes, and the events of a whole host: .ci/darwin
// asks for it.
func TestConformanceOverLinux(t *testing.T) {
	if os.Getenv("CONTAIN_DARWIN") == "" {
		t.Skip("CONTAIN_DARWIN=1 runs it")
	}
	registrytest.Run(t, registrytest.Harness{Strategy: strategy{}})
}
