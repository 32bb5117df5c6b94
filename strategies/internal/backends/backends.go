// Package backends keeps what an installation has started and is not known to be
// gone: who may start, what a Close ends, and what it waits for.
package backends

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed329817d7/contain/registry"
)

// A Set is the backends of one installation. Its zero value is empty and open.
type Set struct {
	mu         sync.Mutex
	closed     bool
	starts     int             // those under way
	idle       chan struct{}   // closed when there are none; nil until a close waits for it
	ctx        context.Context // ends with ErrClosed when a close begins; nil until it is asked for
	cancel     context.CancelCauseFunc
	live       map[registry.Process]struct{}
	lost       []error
	afterClose []func()
}

// Begin admits a start, or returns ErrClosed. End must follow.
func (s *Set) Begin(op, strategy string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &registry.Error{Op: op, Strategy: strategy, Err: registry.ErrClosed}
	}
	s.starts++
	return nil
}

// End ends what Begin has admitted; what was started has been added by then.
func (s *Set) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starts--; s.starts == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Closing returns a context that ends, with ErrClosed, when a close begins: a start
// that can be given up need not be waited for.
func (s *Set) Closing() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
	}
	if s.closed {
		s.cancel(registry.ErrClosed)
	}
	return s.ctx
}

// Admit keeps p, which has run no instruction yet, until Remove. Where a close has begun,
// and did not wait for the start, it is not kept, and the error is ErrClosed.
func (s *Set) Admit(p registry.Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return registry.ErrClosed
	}
	s.keep(p)
	return nil
}

// Add is Admit for a p that runs: where a close did not wait for the start, p is ended.
func (s *Set) Add(p registry.Process) {
	if s.Admit(p) == nil {
		return
	}
	s.mu.Lock()
	s.keep(p)
	s.mu.Unlock()
	_ = p.Kill() // an error means that it is gone
}

func (s *Set) keep(p registry.Process) {
	if s.live == nil {
		s.live = make(map[registry.Process]struct{})
	}
	s.live[p] = struct{}{}
}

// Remove forgets p, of which nothing is left. It comes after p's Done is closed: Close returns when
// that of all is.
func (s *Set) Remove(p registry.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, p)
}

// Lose keeps what is to be said of a backend of which something may be left and
// nobody knows. The next close says it.
func (s *Set) Lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, err)
}

// AfterClose has f called once all that was started is gone, by the close that
// finds it so.
func (s *Set) AfterClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.afterClose = append(s.afterClose, f)
}

// Close lets nothing more in, kills what is there and waits for it.
func (s *Set) Close(ctx context.Context, strategy string) error {
	fail := func(err error) error { return &registry.Error{Op: "close", Strategy: strategy, Err: err} }
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel(registry.ErrClosed)
	}
	s.mu.Unlock()
	late := s.awaitStarts(ctx)
	s.mu.Lock()
	var ps []registry.Process
	for p := range s.live {
		ps = append(ps, p)
	}
	s.mu.Unlock()
	refused := make([]error, len(ps))
	for i, p := range ps {
		refused[i] = p.Kill() // mostly that it is gone, which the wait below shows
	}
	for i, p := range ps {
		if !closed(ctx, p.Done()) {
			left, _ := p.Members()
			err := fmt.Errorf("backend %d still has processes %v: %w", p.PID(), pids(left), ctx.Err())
			if refused[i] != nil {
				err = fmt.Errorf("%w; ending it: %w", err, refused[i])
			}
			return fail(err)
		}
	}
	s.mu.Lock()
	late = errors.Join(append(s.lost, late)...)
	s.lost = nil // it is said once
	var after []func()
	if late == nil {
		after, s.afterClose = s.afterClose, nil
	}
	s.mu.Unlock()
	if late != nil {
		return fail(late)
	}
	for _, f := range after {
		f()
	}
	return nil
}

func pids(members []registry.Member) []int {
	numbers := make([]int, len(members))
	for i, m := range members {
		numbers[i] = m.PID
	}
	return numbers
}

// awaitStarts waits for the starts under way. What they start after that is
// ended by Add.
func (s *Set) awaitStarts(ctx context.Context) error {
	s.mu.Lock()
	if s.starts > 0 && s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	if idle != nil && !closed(ctx, idle) {
		return fmt.Errorf("a start is still under way (what it starts will be ended): %w", ctx.Err())
	}
	return nil
}

// closed waits for c until ctx is done. A c that is closed already counts, whatever ctx says.
func closed(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
