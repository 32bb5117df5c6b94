package containment_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed329817d7/contain/app/containment"
)

// TestCloseTimetable runs on a fake clock: how long does a backend have that ends by
// itself after so long, or must be killed and then ends after so long?
func TestCloseTimetable(t *testing.T) {
	in := func(d time.Duration) func(*scripted) error {
		return func(p *scripted) error {
			time.AfterFunc(d, p.end)
			return nil
		}
	}
	never := func(*scripted) error { return nil }
	const done, alive = -1, 0 // when ctx is cancelled
	for _, tt := range []struct {
		what            string
		cancel          time.Duration
		grace, deadline time.Duration
		onTerm, onKill  func(*scripted) error
		took            time.Duration
		kills           int
		is              error
	}{
		{what: "it ends in its own time", cancel: alive, onTerm: in(3 * time.Second), onKill: never, took: 3 * time.Second},
		{what: "the same, after the context", cancel: done, onTerm: in(3 * time.Second), onKill: never, took: 3 * time.Second},
		{what: "it must be killed", cancel: alive, onTerm: never, onKill: in(time.Second), took: 6 * time.Second, kills: 1},
		{what: "the same, after the context", cancel: done, onTerm: never, onKill: in(time.Second), took: 6 * time.Second, kills: 1},
		{what: "a long grace, after the context", cancel: done, grace: time.Minute, onTerm: in(50 * time.Second), onKill: never, took: 50 * time.Second},
		{what: "cancelled meanwhile, it is killed and waited for", cancel: time.Second, onTerm: never, onKill: in(2 * time.Second), took: 3 * time.Second, kills: 1},
		{what: "cancelled meanwhile, with a deadline ahead", cancel: time.Second, deadline: time.Minute,
			onTerm: never, onKill: in(2 * time.Second), took: 3 * time.Second, kills: 1},
		{what: "nothing helps", cancel: done, onTerm: never, onKill: never, took: 9800 * time.Millisecond, kills: 1, is: containment.ErrLeft},
		{what: "cancelled meanwhile, and nothing helps", cancel: time.Second, onTerm: never, onKill: never, took: 6 * time.Second, kills: 1, is: containment.ErrLeft},
		{what: "a deadline is kept", cancel: alive, deadline: 2 * time.Second, onTerm: never, onKill: never, took: 1900 * time.Millisecond, kills: 1, is: containment.ErrLeft},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{onTerminate: tt.onTerm, onKill: tt.onKill}
				cfg := using(s)
				cfg.Grace = tt.grace
				c, err := containment.Install(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Start(&exec.Cmd{Path: "/opt/backend"}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				switch {
				case tt.cancel == done:
					cancel()
				case tt.cancel > 0:
					defer time.AfterFunc(tt.cancel, cancel).Stop()
				}
				began := time.Now()
				err = c.Close(ctx)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if terms, kills := s.backlog[0].counts(); terms != 1 || kills != tt.kills {
					t.Errorf("asked %d times, killed %d; want 1, %d", terms, kills, tt.kills)
				}
				if !errors.Is(err, tt.is) {
					t.Errorf("%v is not %v", err, tt.is)
				}
				s.backlog[0].end()
				cancel()
				synctest.Wait()
			})
		})
	}
}
