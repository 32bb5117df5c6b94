package containment_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func TestDieWithParentThatCannotBe(t *testing.T) {
	fake := new(registrytest.Fake)
	cfg := using(fake)
	cfg.DieWithParent, cfg.OutliveParent = true, true
	if _, err := containment.Install(t.Context(), cfg); err == nil || fake.Installs() != 0 {
		t.Errorf("with OutliveParent: %v, %d installs", err, fake.Installs())
	}
	switch runtime.GOOS {
	case "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly":
		return // there it is not up to the strategy
	}
	cfg.OutliveParent = false
	if _, err := containment.Install(t.Context(), cfg); !errors.Is(err, errors.ErrUnsupported) || fake.Closes() != 1 {
		t.Errorf("a strategy that does not bind: %v, closed %d times", err, fake.Closes())
	}
	fake.Cleanup = registry.CleanupLinuxParentDeathSignal
	install(t, cfg)
}
