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
	if err := isParent(windows.CurrentProcess()); !errors.Is(err, errParentGone) {
		t.Errorf("this process is taken for its own parent: %v", err)
	}
}
