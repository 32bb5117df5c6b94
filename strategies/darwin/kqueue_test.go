package darwin_test

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

func TestDescribe(t *testing.T) {
	s := darwin.Kqueue()
	d := s.Describe()
	if d.Name != darwin.KqueueName || d.Platform != registry.PlatformDarwin || d.Unproved == "" {
		t.Errorf("Describe: %+v", d)
	}
	if want := registry.CleanupMacOSKqueueSupervisorContract; d.Target != want || s.Target() != want {
		t.Errorf("targets %q and %q, want %q", d.Target, s.Target(), want)
	}
	if d.Supervisor == nil || *d.Supervisor != registry.BrokerContract() {
		t.Errorf("contract: %+v", d.Supervisor)
	}
	for e, declared := range map[registry.Event]bool{
		registry.EventOwnerKilled: true, registry.EventOwnerExit: true, registry.EventLeaderExit: true,
		registry.EventBothKilled: false, registry.EventSupervisorKilled: false,
	} {
		g, ok := d.Guarantee(e)
		if ok != declared {
			t.Errorf("%s declared: %v, want %v", e, ok, declared)
		}
		if ok && (g.Reach != registry.ReachTree || g.Enforcer != registry.EnforcerSupervisor || g.Within != registry.SupervisorKillDeadline) {
			t.Errorf("declares %v within %v", g, g.Within)
		}
	}
	d.Guarantees[0].Within, d.Supervisor.KillDeadline, d.Limits[0] = 0, 0, ""
	if reflect.DeepEqual(d, s.Describe()) {
		t.Error("Describe hands out its own memory")
	}
	if got, err := registry.Default().Lookup(darwin.KqueueName); err != nil || got != s {
		t.Errorf("Lookup in the default registry: %v, %v", got, err)
	}
}

func TestElsewhereUnsupported(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("this is darwin")
	}
	_, err := darwin.Kqueue().Install(t.Context(), registry.InstallOptions{})
	var own *registry.Error
	if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &own) || own.Strategy != darwin.KqueueName {
		t.Errorf("Install: %v", err)
	}
	if err := registry.Probe(t.Context(), darwin.Kqueue()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Probe: %v", err)
	}
}

// TestChosenOnDarwin resolves for macOS as if everything worked there.
func TestChosenOnDarwin(t *testing.T) {
	r := registry.Default()
	if got := r.Target(registry.PlatformDarwin); got != registry.CleanupMacOSKqueueSupervisorContract {
		t.Errorf("target of darwin: %q", got)
	}
	works := func(context.Context, registry.Resolution) error { return nil }
	res, err := r.Resolve(t.Context(), registry.PlatformDarwin, registry.Wanted{Try: works})
	if err != nil || res.Description.Name != darwin.KqueueName {
		t.Errorf("by default: %q, %v", res.Description.Name, err)
	}
}

// TestContractIsRead: the supervisor watches what the contract names, and refuses one that
// names something else. TestContractNumbers has the numbers, on macOS.
func TestContractIsRead(t *testing.T) {
	c := registry.BrokerContract()
	if f, n, err := xnu.Named(c.Filter, c.Note); err != nil || f != xnu.FilterProc || n != xnu.NoteExit {
		t.Errorf("%d, %#x, %v", f, n, err)
	}
	for _, names := range [][2]string{{"", ""}, {"EVFILT_READ", "NOTE_EXIT"}, {"EVFILT_PROC", "NOTE_FORK"}} {
		if _, _, err := xnu.Named(names[0], names[1]); err == nil {
			t.Errorf("%q: no error", names)
		}
	}
}
