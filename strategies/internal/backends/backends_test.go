package backends

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// late is a process whose start outlasts a Close.
type late struct {
	registry.Process
	done chan struct{}
}

func (p *late) Kill() error           { close(p.done); return os.ErrProcessDone }
func (p *late) Done() <-chan struct{} { return p.done }

// TestCloseDuringStart: Close returns with its context although a start is under
// way, says so, and what that start then brings is ended.
func TestCloseDuringStart(t *testing.T) {
	var b Set
	if err := b.Begin("start", "any/test"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ctx, "any/test"); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if err := b.Begin("start", "any/test"); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
	p := &late{done: make(chan struct{})}
	b.Add(p)
	b.End()
	select {
	case <-p.done:
	default:
		t.Error("what a late start brought lives on")
	}
}
