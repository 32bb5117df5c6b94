package inventory

import (
	"errors"
	"runtime"
	"testing"
)

// TestStopOfNothing: a Containment that nobody has found is an error everywhere.
func TestStopOfNothing(t *testing.T) {
	if _, err := Stop(t.Context(), Containment{ID: "1-a"}, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Stop: %v", err)
	}
}

// TestUnsupported: where nothing can be read that is an error, never an empty list.
func TestUnsupported(t *testing.T) {
	if _, err := List(); errors.Is(err, errors.ErrUnsupported) != (runtime.GOOS != "linux" && runtime.GOOS != "windows") {
		t.Errorf("List on %s: %v", runtime.GOOS, err)
	}
}
