package containment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A session lasts from an Install to its Close.
type session struct {
	cfg Config
	res registry.Resolution
	in  registry.Installation
	// over is closed by Close, so that nothing waits for a wrapped command that
	// is never started.
	over    chan struct{}
	endOver sync.Once

	mu       sync.Mutex
	backends map[*Backend]struct{} // those that are not known to be gone
}

func newSession(cfg Config, res registry.Resolution, in registry.Installation) *session {
	return &session{cfg: cfg, res: res, in: in, over: make(chan struct{}), backends: make(map[*Backend]struct{})}
}

// name returns that of the strategy, "" where there is none.
func (s *session) name() string {
	if s == nil {
		return ""
	}
	return s.res.Description.Name
}

// track remembers a backend until it is gone.
func (s *session) track(path string, p registry.Process) *Backend {
	b := newBackend(p, path, s.name(), s.cfg.grace())
	s.mu.Lock()
	s.backends[b] = struct{}{}
	s.mu.Unlock()
	go func() {
		select {
		case <-b.Done():
			s.mu.Lock()
			delete(s.backends, b)
			s.mu.Unlock()
		case <-s.over:
		}
	}()
	return b
}

// close stops the backends in parallel, then lets the strategy end by force
// whatever was started meanwhile.
func (s *session) close(ctx context.Context) error {
	killing, cancel := outlasting(ctx, registry.SupervisorKillDeadline)
	defer cancel()
	errs := append(s.stopAll(ctx, killing), s.in.Close(killing))
	s.endOver.Do(func() { close(s.over) })
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
	var live []*Backend
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
