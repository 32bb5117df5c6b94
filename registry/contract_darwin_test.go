package registry_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// TestContractNumbers pins the contract's names and numbers to the system's.
func TestContractNumbers(t *testing.T) {
	c := registry.BrokerContract()
	if int64(c.Filter) != unix.EVFILT_PROC || c.FilterName() != "EVFILT_PROC" {
		t.Errorf("filter %d (%s), the system's EVFILT_PROC is %d", c.Filter, c.FilterName(), unix.EVFILT_PROC)
	}
	if int64(c.Note) != unix.NOTE_EXIT || c.NoteName() != "NOTE_EXIT" {
		t.Errorf("note %#x (%s), the system's NOTE_EXIT is %#x", c.Note, c.NoteName(), unix.NOTE_EXIT)
	}
	if int(c.Signal) != int(unix.SIGKILL) || c.SignalName() != unix.SignalName(unix.SIGKILL) {
		t.Errorf("signal %d (%s), the system's SIGKILL is %d", c.Signal, c.SignalName(), unix.SIGKILL)
	}
}
