package darwin

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// TestContractNumbers pins the contract's names to the system's numbers.
func TestContractNumbers(t *testing.T) {
	c := registry.BrokerContract()
	filter, note, err := xnu.Named(c.FilterName(), c.NoteName())
	if err != nil || int(filter) != unix.EVFILT_PROC || uint32(note) != unix.NOTE_EXIT {
		t.Errorf("%s is %d, EVFILT_PROC %d; %s is %#x, NOTE_EXIT %#x; %v",
			c.Filter, filter, unix.EVFILT_PROC, c.Note, note, uint32(unix.NOTE_EXIT), err)
	}
	if int(c.Signal) != int(unix.SIGKILL) || c.SignalName() != unix.SignalName(unix.SIGKILL) {
		t.Errorf("signal %d (%s), SIGKILL is %d", c.Signal, c.SignalName(), unix.SIGKILL)
	}
}
