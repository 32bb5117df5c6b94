package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"

	"github.com/seed329817d7/contain/registry"
)

// backends are what an installation has started and is not known to be gone.
type backends struct {
	mu     sync.Mutex
	closed bool
	starts sync.WaitGroup  // those under way
	ctx    context.Context // ends with ErrClosed when the close begins; nil until it is asked for
	cancel context.CancelCauseFunc
	live   map[registry.Process]struct{}
	lost   []int  // leaders of those that nobody watches over any more
	unbind func() // called once a close has succeeded, if not nil
}

// begin admits a start, or returns ErrClosed. end must follow.
func (b *backends) begin(op, strategy string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return &registry.Error{Op: op, Strategy: strategy, Err: registry.ErrClosed}
	}
	b.starts.Add(1)
	return nil
}

func (b *backends) end() { b.starts.Done() }

// closing returns a context that ends, with ErrClosed, when a close begins: a start
// that can be given up need not be waited for.
func (b *backends) closing() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancelCause(context.Background())
	}
	if b.closed {
		b.cancel(registry.ErrClosed)
	}
	return b.ctx
}

// add keeps p until remove. Where a close did not wait for the start, p is ended.
func (b *backends) add(p registry.Process) {
	b.mu.Lock()
	if b.live == nil {
		b.live = make(map[registry.Process]struct{})
	}
	b.live[p] = struct{}{}
	closed := b.closed
	b.mu.Unlock()
	if closed {
		_ = p.Kill() // an error means that it is gone
	}
}

func (b *backends) remove(p registry.Process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.live, p)
}

// lose keeps the leader's PID of a backend of which something may be left and
// nobody knows, for close to say so.
func (b *backends) lose(leader int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = append(b.lost, leader)
}

// close kills what is there and waits for it.
func (b *backends) close(ctx context.Context, strategy string) error {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel(registry.ErrClosed)
	}
	b.mu.Unlock()
	late := b.awaitStarts(ctx)
	b.mu.Lock()
	var ps []registry.Process
	for p := range b.live {
		ps = append(ps, p)
	}
	b.mu.Unlock()
	for _, p := range ps {
		_ = p.Kill() // an error means that it is gone, which the wait below shows
	}
	for _, p := range ps {
		select {
		case <-p.Done():
		case <-ctx.Done():
			left, _ := p.Members()
			return &registry.Error{Op: "close", Strategy: strategy,
				Err: fmt.Errorf("backend %d still has processes %v: %w", p.PID(), left, ctx.Err())}
		}
	}
	b.mu.Lock()
	lost, unbind := b.lost, b.unbind
	b.lost, b.unbind = nil, nil // it is said once, and done once
	b.mu.Unlock()
	if unbind != nil {
		unbind()
	}
	if len(lost) > 0 {
		late = errors.Join(late, fmt.Errorf("of backend %v: %w", lost, errLost))
	}
	if late != nil {
		return &registry.Error{Op: "close", Strategy: strategy, Err: late}
	}
	return nil
}

// awaitStarts waits for the starts under way. What they start after that is
// ended by add.
func (b *backends) awaitStarts(ctx context.Context) error {
	over := make(chan struct{})
	go func() {
		defer close(over)
		b.starts.Wait()
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a start is still under way (what it starts will be ended): %w", ctx.Err())
	}
}

// startable returns the error that exec.Cmd.Start would return at once, having
// let it close what it closes then: the pipes that cmd.StdoutPipe and its like made.
func startable(cmd *exec.Cmd) error {
	if cmd.Err != nil || cmd.Process != nil || cmd.Path == "" {
		return cmd.Start()
	}
	return nil
}

// refuseStart makes a start fail with err as exec.Cmd.Start would: nothing is started,
// and the command's pipes are closed.
func refuseStart(cmd *exec.Cmd, err error) error {
	before := cmd.Err
	cmd.Err = err
	err = cmd.Start()
	cmd.Err = before
	return err
}
