package darwin

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// TestContractNumbers pins the portable names to the system's numbers.
func TestContractNumbers(t *testing.T) {
	c := registry.BrokerContract()
	if int(c.Filter) != unix.EVFILT_PROC || c.FilterName() != "EVFILT_PROC" {
		t.Errorf("filter %d (%s), EVFILT_PROC is %d", c.Filter, c.FilterName(), unix.EVFILT_PROC)
	}
	if uint32(c.Note) != unix.NOTE_EXIT || c.NoteName() != "NOTE_EXIT" {
		t.Errorf("note %#x (%s), NOTE_EXIT is %#x", c.Note, c.NoteName(), uint32(unix.NOTE_EXIT))
	}
	if int(c.Signal) != int(unix.SIGKILL) || c.SignalName() != "SIGKILL" {
		t.Errorf("signal %d (%s), SIGKILL is %d", c.Signal, c.SignalName(), unix.SIGKILL)
	}
}
