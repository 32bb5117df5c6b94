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

func (*late) PID() int { return 1 }

func (*late) Members() ([]registry.Member, error) { return nil, nil }

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

// TestAdmit: a process that has not run is kept until a close has begun, and refused then.
func TestAdmit(t *testing.T) {
	var b Set
	for range 2 { // two starts
		if err := b.Begin("start", "any/test"); err != nil {
			t.Fatal(err)
		}
		defer b.End()
	}
	first, second := &late{done: make(chan struct{})}, &late{done: make(chan struct{})}
	if err := b.Admit(first); err != nil {
		t.Errorf("before the close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ctx, "any/test"); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if err := b.Admit(second); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
	select {
	case <-first.done:
	default:
		t.Error("what was admitted lives on")
	}
	if len(b.live) != 1 {
		t.Errorf("%d processes are kept, want the one that was admitted", len(b.live))
	}
}

// unkillable says why it cannot be ended.
type unkillable struct {
	late
	reason error
}

func (p *unkillable) Kill() error { return p.reason }

// TestCloseSaysWhyNot: where a backend cannot be ended, the error has that reason.
func TestCloseSaysWhyNot(t *testing.T) {
	var b Set
	p := &unkillable{late{done: make(chan struct{})}, os.ErrPermission}
	b.Add(p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ctx, "any/test"); !errors.Is(err, os.ErrPermission) || !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

// TestCloseExpired: where nothing is left, a context that is done is no failure.
func TestCloseExpired(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 200 {
		var b Set
		if err := b.Begin("start", "any/test"); err != nil {
			t.Fatal(err)
		}
		b.Add(&late{done: make(chan struct{})})
		b.End()
		if err := b.Close(ctx, "any/test"); err != nil {
			t.Fatal(err)
		}
	}
}
