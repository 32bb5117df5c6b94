package plain

import (
	"testing"

	"github.com/seed329817d7/contain/app/containment"
)

func TestGrace(t *testing.T) {
	if got := Grace(2); got != containment.DefaultGrace {
		t.Errorf("grace %v, want %v", got, containment.DefaultGrace)
	}
	if got := Grace(1); got >= 0 {
		t.Errorf("PID 1: grace %v, want none", got)
	}
}
