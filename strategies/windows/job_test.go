package windows

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

func TestRegistered(t *testing.T) {
	s, err := registry.Default().Lookup(JobName)
	if err != nil {
		t.Fatal(err)
	}
	if s != Job() {
		t.Errorf("registered %#v, want Job()", s)
	}
	if got := registry.Default().Target(registry.PlatformWindows); got != registry.CleanupWindowsKillOnJobClose {
		t.Errorf("target on windows: %q", got)
	}
}

func TestDescribe(t *testing.T) {
	d := Job().Describe()
	want := "[owner-killed=tree/kernel both-killed=tree/kernel leader-exit=tree/supervisor owner-exit=tree/kernel]"
	if got := fmt.Sprint(d.Guarantees); got != want {
		t.Errorf("guarantees\n%s\nwant\n%s", got, want)
	}
	if d.Platform != registry.PlatformWindows || d.Target != Job().Target() || d.Supervisor != nil || d.OptIn {
		t.Errorf("%+v", d)
	}
	d.Guarantees[0].Within, d.Limits[0], d.Requires[0] = 0, "", ""
	if again := Job().Describe(); reflect.DeepEqual(d, again) || again.Limits[0] == "" {
		t.Error("Describe hands out memory that it uses again")
	}
}

func TestCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Job().Install(ctx, registry.InstallOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Install: %v", err)
	}
	if err := registry.Probe(ctx, Job()); !errors.Is(err, context.Canceled) {
		t.Errorf("Probe: %v", err)
	}
}

func TestUnsupportedElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is supported here")
	}
	in, err := Job().Install(t.Context(), registry.InstallOptions{})
	if in != nil || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Install = %v, %v; want an error that wraps ErrUnsupported", in, err)
	}
	var e *registry.Error
	if err := registry.Probe(t.Context(), Job()); !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &e) || e.Strategy != JobName {
		t.Errorf("Probe: %v", err)
	}
}
