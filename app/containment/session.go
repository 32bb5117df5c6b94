package containment

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A session lasts from an Install to its Close.
type session struct {
	cfg    Config
	events *events
	res    registry.Resolution
	in     registry.Installation
	// over is closed by Close, so that nothing waits for a wrapped command that
	// is never started.
	over    chan struct{}
	endOver sync.Once

	followers sync.WaitGroup

	mu       sync.Mutex
	backends map[*Backend]struct{} // those that are not known to be gone
	number   uint64                // of the last one
}

func newSession(cfg Config, events *events, res registry.Resolution, in registry.Installation) *session {
	return &session{cfg: cfg, events: events, res: res, in: in, over: make(chan struct{}), backends: make(map[*Backend]struct{})}
}

// name returns that of the strategy, "" where there is none.
func (s *session) name() string {
	if s == nil {
		return ""
	}
	return s.res.Description.Name
}

// track remembers a backend until it is gone. cmd is nil for one that was wrapped.
func (s *session) track(cmd *exec.Cmd, path string, p registry.Process, o startOptions) *Backend {
	b := newBackend(p, path, s.name(), o)
	b.cmd, b.events = cmd, s.events
	s.mu.Lock()
	s.number++
	b.number = s.number
	s.backends[b] = struct{}{}
	s.mu.Unlock()
	if cmd != nil {
		s.events.happened(Event{Kind: EventStarted, Backend: b})
	}
	s.followers.Go(func() { s.follow(b) })
	return b
}

// follow says what becomes of a backend, and forgets it when it is gone.
func (s *session) follow(b *Backend) {
	if b.cmd == nil && s.closedBy(b.settled()) && !b.pending() {
		s.events.happened(Event{Kind: EventStarted, Backend: b})
	}
	if !s.closedBy(b.leaderExited()) {
		return
	}
	if !b.pending() && b.reason() != EndReleased { // else it will never be started, or is nobody's now
		s.events.happened(Event{Kind: EventLeaderExited, Backend: b, Exit: b.knownExit()})
	}
	if !s.closedBy(b.Done()) {
		return
	}
	if r, ok := b.proc.(registry.LeftoverReporter); ok && b.reason() == EndLeaderExit {
		if n, who := r.Leftovers(); n > 0 {
			s.events.happened(Event{Kind: EventLeftoversEnded, Backend: b, Count: n, Members: who})
		}
	}
	s.mu.Lock()
	delete(s.backends, b)
	s.mu.Unlock()
	switch {
	case b.pending():
	case b.reason() == EndReleased:
		s.events.happened(Event{Kind: EventReleased, Backend: b})
	default:
		s.events.happened(Event{Kind: EventEnded, Backend: b})
	}
}

// closedBy waits for done, and reports whether it was closed by the time the session is over.
func (s *session) closedBy(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-s.over:
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// close stops the backends in parallel, then lets the strategy end by force
// whatever was started meanwhile.
func (s *session) close(ctx context.Context) error {
	killing, cancel := outlasting(ctx, registry.SupervisorKillDeadline)
	defer cancel()
	errs := append(s.stopAll(ctx, killing), s.in.Close(killing))
	s.endOver.Do(func() { close(s.over) })
	s.followers.Wait() // all that can be said of the backends has been said
	return compose(errs...)
}

// outlasting returns a context that ends at the deadline of ctx, or by more after a
// ctx without one was cancelled.
func outlasting(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		select {
		case <-time.After(by):
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}

func (s *session) stopAll(ctx, killing context.Context) []error {
	s.mu.Lock()
	live := make([]*Backend, 0, len(s.backends))
	for b := range s.backends {
		live = append(live, b)
	}
	s.mu.Unlock()
	slices.SortFunc(live, func(a, b *Backend) int { return a.PID() - b.PID() })

	errs := make([]error, len(live))
	var wg sync.WaitGroup
	for i, b := range live {
		wg.Go(func() { _, errs[i] = b.stop(ctx, killing) })
	}
	wg.Wait()
	return errs
}

// memberList is for error texts. A process chooses its own name.
func memberList(members []registry.Member) string {
	words := make([]string, len(members))
	for i, m := range members {
		words[i] = fmt.Sprintf("%d (%q)", m.PID, m.Name)
	}
	return strings.Join(words, ", ")
}
