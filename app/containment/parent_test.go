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
	cfg.OutliveParent = false
	if runtime.GOOS == "js" {
		if _, err := containment.Install(t.Context(), cfg); !errors.Is(err, errors.ErrUnsupported) || fake.Closes() != 1 {
			t.Errorf("no parent: %v, closed %d times", err, fake.Closes())
		}
	}
	fake.Cleanup = registry.CleanupLinuxParentDeathSignal // then it is the strategy's doing
	install(t, cfg)
	cfg.DieWithParent, cfg.OutliveParent = false, true
	install(t, cfg) // this package has bound nothing
}
