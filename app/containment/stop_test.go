package containment_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
)

// TestStopTimetable runs on a fake clock: when is who asked, killed and reported?
func TestStopTimetable(t *testing.T) {
	refused := fmt.Errorf("no console here: %w", errors.ErrUnsupported)
	denied := fmt.Errorf("ask: %w", syscall.EPERM)
	after := func(d time.Duration, then func(*scripted) error) func(*scripted) error {
		return func(p *scripted) error {
			time.AfterFunc(d, func() { _ = then(p) })
			return nil
		}
	}
	for _, tt := range []struct {
		what         string
		grace        time.Duration
		deadline     time.Duration // of ctx, 0 for none
		cancel       time.Duration // when ctx is cancelled, 0 for never
		onTerminate  func(*scripted) error
		onKill       func(*scripted) error
		took         time.Duration
		forced, left int
		terms, kills int
		is           []error
	}{
		{what: "it ends when asked", onTerminate: after(time.Second, ends), took: time.Second, terms: 1},
		{what: "it ends at once", onTerminate: ends, terms: 1},
		{what: "it must be forced", onKill: ends, took: 5 * time.Second, forced: 2, terms: 1, kills: 1},
		{what: "the grace is the config's", grace: time.Minute, onKill: ends, took: time.Minute, forced: 2, terms: 1, kills: 1},
		{what: "a far deadline leaves the grace", deadline: 15 * time.Second, onKill: ends, took: 5 * time.Second, forced: 2, terms: 1, kills: 1},
		{what: "a nearer deadline shortens it", deadline: 8 * time.Second, onKill: ends, took: 4 * time.Second, forced: 2, terms: 1, kills: 1},
		{what: "a near deadline does too", deadline: 2 * time.Second, onKill: ends, took: time.Second, forced: 2, terms: 1, kills: 1},
		{what: "nothing helps", took: 10 * time.Second, forced: 2, left: 2, terms: 1, kills: 1, is: []error{containment.ErrLeft}},
		{what: "nothing helps, reported before the deadline", deadline: 2 * time.Second, took: 1900 * time.Millisecond,
			forced: 2, left: 2, terms: 1, kills: 1, is: []error{containment.ErrLeft}},
		{what: "the killing takes its time", onKill: after(4*time.Second, ends), took: 9 * time.Second, forced: 2, terms: 1, kills: 1},
		{what: "cancelled while it is asked", cancel: time.Second, onKill: ends, took: time.Second, forced: 2, terms: 1, kills: 1},
		{what: "cancelled, and the killing takes its time", cancel: time.Second, onKill: after(time.Second, ends), took: time.Second,
			forced: 2, left: 2, terms: 1, kills: 1, is: []error{containment.ErrLeft, context.Canceled}},
		{what: "nobody can be asked", onTerminate: func(*scripted) error { return refused }, onKill: ends, forced: 2, terms: 1, kills: 1},
		{what: "one may not be asked, the others get their grace", onTerminate: func(*scripted) error { return denied }, onKill: ends,
			took: 5 * time.Second, forced: 2, terms: 1, kills: 1},
		{what: "nothing works", onTerminate: func(*scripted) error { return denied }, onKill: func(*scripted) error { return syscall.ESRCH },
			took: 10 * time.Second, forced: 2, left: 2, terms: 1, kills: 1, is: []error{containment.ErrLeft, syscall.EPERM, syscall.ESRCH}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{onTerminate: tt.onTerminate, onKill: tt.onKill}
				cfg := using(s)
				cfg.Grace = tt.grace
				c, err := containment.Install(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				b, err := c.Start(&exec.Cmd{Path: "/opt/backend"})
				if err != nil {
					t.Fatal(err)
				}
				p := s.backlog[0]
				defer func() { p.end(); synctest.Wait() }()

				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				if tt.cancel > 0 {
					var cancel func()
					ctx, cancel = context.WithCancel(ctx)
					defer time.AfterFunc(tt.cancel, cancel).Stop()
				}
				rep, err := b.Stop(ctx)
				if rep.Took != tt.took || len(rep.Forced) != tt.forced || len(rep.Left) != tt.left {
					t.Errorf("took %v, forced %v, left %v; want %v, %d, %d", rep.Took, rep.Forced, rep.Left, tt.took, tt.forced, tt.left)
				}
				if terms, kills := p.counts(); terms != tt.terms || kills != tt.kills {
					t.Errorf("asked %d times, killed %d; want %d, %d", terms, kills, tt.terms, tt.kills)
				}
				if len(tt.is) == 0 && err != nil {
					t.Error(err)
				}
				for _, is := range tt.is {
					if !errors.Is(err, is) {
						t.Errorf("%v is not %v", err, is)
					}
				}
				if tt.left > 0 {
					oneLine(t, err, "any/fake", "stop backend (pid 100): processes are left: 100 (\"leader\"), 101 (\"a\\nchild\\x1b[2J\")")
				}
			})
		})
	}
}

func TestStopConcurrentlyAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{onKill: ends}
		c, err := containment.Install(t.Context(), using(s))
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Start(&exec.Cmd{Path: "/opt/backend"})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if rep, err := b.Stop(t.Context()); err != nil || len(rep.Forced) != 2 || rep.Took != 3*time.Second {
					t.Errorf("%+v, %v", rep, err)
				}
			})
		}
		time.Sleep(2 * time.Second)
		hurried, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if rep, err := b.Stop(hurried); err != nil || len(rep.Forced) != 2 || rep.Took != time.Second {
			t.Errorf("a hurried one: %+v, %v", rep, err)
		}
		wg.Wait()
		if terms, _ := s.backlog[0].counts(); terms != 1 {
			t.Errorf("asked %d times", terms)
		}
		synctest.Wait()
	})
}

func TestStopAgainKillsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(script)
		c, err := containment.Install(t.Context(), using(s))
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Start(&exec.Cmd{Path: "/opt/backend"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Stop(t.Context()); !errors.Is(err, containment.ErrLeft) {
			t.Fatal(err)
		}
		s.onKill = ends
		if rep, err := b.Stop(t.Context()); err != nil || rep.Took != 0 || len(rep.Left) != 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if terms, kills := s.backlog[0].counts(); terms != 1 || kills != 2 {
			t.Errorf("asked %d times, killed %d", terms, kills)
		}
		if rep, err := b.Stop(t.Context()); err != nil || rep.Took != 0 {
			t.Errorf("of what is gone: %+v, %v", rep, err)
		}
		synctest.Wait()
	})
}

// TestStopWithUnknownMembers: not knowing who is there is no reason not to kill,
// nor to report a success.
func TestStopWithUnknownMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(script)
		c, err := containment.Install(t.Context(), using(s))
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Start(&exec.Cmd{Path: "/opt/backend"})
		if err != nil {
			t.Fatal(err)
		}
		p := s.backlog[0]
		p.members, p.membersErr = nil, &os.PathError{Op: "open", Path: "/proc", Err: syscall.EMFILE}
		rep, err := b.Stop(t.Context())
		if !errors.Is(err, containment.ErrLeft) || !errors.Is(err, syscall.EMFILE) || len(rep.Left) != 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if _, kills := p.counts(); kills != 1 {
			t.Errorf("killed %d times", kills)
		}
		close(p.done)
		synctest.Wait()
	})
}

// TestStopRealProcesses is the same on real ones.
func TestStopRealProcesses(t *testing.T) {
	fake := fakeWith("any/fake", "owner-killed=tree")
	cfg := using(fake)
	cfg.Grace = 300 * time.Millisecond
	c := install(t, cfg)
	for child, forced := range map[string]int{"sleep": 0, "stubborn": 1} {
		if !canTerminate {
			forced = 1
		}
		cmd, b := start(t, c, child)
		if b.PID() != cmd.Process.Pid {
			t.Errorf("PID %d, want %d", b.PID(), cmd.Process.Pid)
		}
		rep, err := b.Stop(t.Context())
		if err != nil || len(rep.Forced) != forced || len(rep.Left) != 0 {
			t.Errorf("%s: %+v, %v", child, rep, err)
		}
		soon(t, b.Done(), "Done")
		if err := b.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Signal after the end: %v", err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Errorf("Wait: %v", err)
		}
	}
	if n := len(fake.Started()); n != 2 {
		t.Errorf("%d commands were started", n)
	}
}

// TestStopUnknown: that all is over does not mean that nothing is left, where the
// strategy cannot tell.
func TestStopUnknown(t *testing.T) {
	fake := fakeWith("any/fake", "owner-killed=tree")
	fake.MembersErr = fmt.Errorf("%w: nobody knows", containment.ErrLeft)
	cmd, b := start(t, install(t, using(fake)), "sleep")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	soon(t, b.Done(), "Done")
	if rep, err := b.Stop(t.Context()); !errors.Is(err, containment.ErrLeft) {
		t.Errorf("%+v, %v", rep, err)
	}
}

// canTerminate: Windows has no SIGTERM, so a plain process there can only be killed.
var canTerminate = registry.CurrentPlatform() != registry.PlatformWindows

// TestInstallAfterFailedClose: what a Close has left is finished first, or the new
// installation would hide it.
func TestInstallAfterFailedClose(t *testing.T) {
	fake := fakeWith("any/fake", "owner-killed=tree")
	c, err := containment.Install(t.Context(), using(fake))
	if err != nil {
		t.Fatal(err)
	}
	fake.CloseErr = errors.New("not yet")
	if err := c.Close(t.Context()); !errors.Is(err, fake.CloseErr) {
		t.Fatal(err)
	}
	if err := c.Install(t.Context()); !errors.Is(err, fake.CloseErr) || fake.Installs() != 1 {
		t.Errorf("%v, %d installations", err, fake.Installs())
	}
	fake.CloseErr = nil
	if err := c.Install(t.Context()); err != nil || fake.Installs() != 2 || fake.InForce() != 1 {
		t.Errorf("%v, %d installations, %d in force", err, fake.Installs(), fake.InForce())
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
