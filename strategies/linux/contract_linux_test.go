package linux

import (
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// TestContract: the supervisor that contain run has without a registry keeps the
// registry's contract.
func TestContract(t *testing.T) {
	c := registry.PidfdContract()
	if supervisor.KillDeadline != c.KillDeadline || supervisor.KillSignal != int(c.Signal) {
		t.Errorf("%v and %d, want %v and %d", supervisor.KillDeadline, supervisor.KillSignal, c.KillDeadline, c.Signal)
	}
	if supervisor.ParentEndGrace != registry.ParentEndGrace {
		t.Errorf("%v, want %v", supervisor.ParentEndGrace, registry.ParentEndGrace)
	}
}
