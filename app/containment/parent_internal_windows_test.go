package containment

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/windows"
)

// TestParentIsKnownByItsStart: a process that was created after this one has the
// PID of a parent that is gone.
func TestParentIsKnownByItsStart(t *testing.T) {
	later := exec.Command(os.Args[0], "-test.run=^$")
	if err := later.Start(); err != nil {
		t.Fatal(err)
	}
	defer later.Wait()
	if err := later.Process.WithHandle(func(h uintptr) {
		if err := isParent(windows.Handle(h)); !errors.Is(err, errParentGone) {
			t.Errorf("a child is taken for the parent: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestParentIsKnownByItsNumber: the clock, which may have been set back, decides
// only where a process has no sequence number.
func TestParentIsKnownByItsNumber(t *testing.T) {
	const parent = windows.Handle(1)
	oldNumber, oldCreated := sequenceNumber, created
	t.Cleanup(func() { sequenceNumber, created = oldNumber, oldCreated })
	for name, tt := range map[string]struct {
		number, ourNumber uint64 // 0: none
		time, ourTime     int64
		gone              bool
	}{
		"earlier":                            {4, 5, 100, 200, false},
		"earlier, clock set back":            {4, 5, 200, 100, false},
		"later, clock set back":              {6, 5, 100, 200, true},
		"no number, earlier":                 {0, 0, 100, 200, false},
		"no number, within the clock's tick": {0, 0, 100, 100, false},
		"no number, later":                   {0, 0, 200, 100, true},
		"ours has none":                      {9, 0, 100, 200, false},
	} {
		sequenceNumber = func(h windows.Handle) (uint64, error) {
			n := tt.ourNumber
			if h == parent {
				n = tt.number
			}
			if n == 0 {
				return 0, windows.STATUS_INVALID_INFO_CLASS
			}
			return n, nil
		}
		created = func(h windows.Handle) (int64, error) {
			if h == parent {
				return tt.time, nil
			}
			return tt.ourTime, nil
		}
		if err := isParent(parent); errors.Is(err, errParentGone) != tt.gone || !tt.gone && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
