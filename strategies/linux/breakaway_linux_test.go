package linux

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// TestBreakawayIsRefused: what these strategies start ends with its owner, so a
// command that is meant to live on does not run at all.
func TestBreakawayIsRefused(t *testing.T) {
	for _, s := range []registry.Strategy{Pidns(), Cgroup(), Subreaper(), Pdeathsig()} {
		name := s.Describe().Name
		t.Run(name, func(t *testing.T) {
			i, err := s.Install(t.Context(), registry.InstallOptions{OutliveParent: true})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			defer i.Close(context.Background())
			cmd := exec.Command("/bin/true")
			_, err = registry.Start(i, cmd, registry.StartOptions{Breakaway: true})
			var e *registry.Error
			if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &e) || e.Strategy != name || cmd.Process != nil {
				t.Errorf("%v, process %v", err, cmd.Process)
			}
		})
	}
}
