package entry

import (
	"testing"
	"unsafe"
)

func TestMessageSize(t *testing.T) {
	if n := unsafe.Sizeof(Message{}); n != MessageSize {
		t.Errorf("a Message takes %d bytes, MessageSize is %d", n, MessageSize)
	}
}

func TestStepNames(t *testing.T) {
	seen := map[string]Step{}
	for s := StepNone; int(s) < len(stepNames); s++ {
		name := s.String()
		if name == "" {
			t.Errorf("step %d has no name", s)
		}
		if other, twice := seen[name]; twice {
			t.Errorf("steps %d and %d are both called %q", other, s, name)
		}
		seen[name] = s
	}
	if got := Step(1 << 20).String(); got != "start" {
		t.Errorf("an unknown step is called %q", got)
	}
	if StepExec.String() != "exec" || Step(len(stepNames)-1) != StepExec {
		t.Error("exec is not the last step, or not named so")
	}
}
