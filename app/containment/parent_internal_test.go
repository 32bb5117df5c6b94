package containment

import (
	"context"
	"testing"
)

// TestEndAfter: a watch that was over ends nothing, also if the parent has gone meanwhile.
func TestEndAfter(t *testing.T) {
	gone := make(chan struct{})
	close(gone)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	ended := 0
	for range 100 {
		endAfter(over, gone, func() { ended++ })
	}
	if ended != 0 {
		t.Errorf("ended %d times after the watch was over", ended)
	}
	endAfter(t.Context(), gone, func() { ended++ })
	if ended != 1 {
		t.Error("not ended although the parent has gone")
	}
}
