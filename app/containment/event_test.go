package containment_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/noop"
)

// recorder keeps what OnEvent was called with.
type recorder struct {
	mu     sync.Mutex
	events []containment.Event
	inside int
	busy   bool // it was called again before it had returned
	news   chan struct{}
}

func record(cfg *containment.Config) *recorder {
	r := &recorder{news: make(chan struct{}, 1)}
	cfg.OnEvent = r.take
	return r
}

func (r *recorder) take(e containment.Event) {
	r.mu.Lock()
	r.inside++
	r.busy = r.busy || r.inside > 1
	r.events = append(r.events, e)
	r.mu.Unlock()
	runtime.Gosched()
	r.mu.Lock()
	r.inside--
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// of returns those of a kind, or all, without waiting.
func (r *recorder) of(kind containment.EventKind) []containment.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e containment.Event) bool { return kind != "" && e.Kind != kind })
}

// await returns the first of a kind.
func (r *recorder) await(t testing.TB, kind containment.EventKind) containment.Event {
	t.Helper()
	limit := time.After(childLife)
	for {
		if es := r.of(kind); len(es) > 0 {
			return es[0]
		}
		select {
		case <-r.news:
		case <-limit:
			t.Fatalf("no event %q: %v", kind, r.kinds())
		}
	}
}

func (r *recorder) kinds() []containment.EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := make([]containment.EventKind, len(r.events))
	for i, e := range r.events {
		kinds[i] = e.Kind
	}
	return kinds
}

// waiting waits for cmd in another goroutine, until the test ends at the latest.
func waiting(t testing.TB, cmd *exec.Cmd) {
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-waited
	})
}

// TestEvents: what happens is told, in order, one at a time, and counted.
func TestEvents(t *testing.T) {
	better := fakeWith("any/better", "owner-killed=tree/kernel")
	better.InstallErr = fmt.Errorf("not here: %w", errors.ErrUnsupported)
	cfg := using(better, noop.New())
	cfg.BestEffort = true
	var text fmt.Stringer
	cfg.Logger, text = debugLog()
	r := record(&cfg)
	c := install(t, cfg)

	cmd := command(t, "exit-7")
	b, err := c.Start(cmd, containment.Label("seven"))
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	<-b.Done()
	r.await(t, containment.EventEnded)
	if _, err := c.Start(exec.Command("/does/not/exist"), containment.Label("none")); err == nil {
		t.Fatal("it was started")
	}
	stubborn, s := start(t, c, "stubborn")
	waiting(t, stubborn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if runtime.GOOS != "windows" { // where it cannot be asked, and so is not forced after a grace
		if report, err := s.Stop(ctx); err != nil || len(report.Forced) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	busy := r.busy
	r.mu.Unlock()
	if busy {
		t.Error("OnEvent was called by two at a time")
	}
	got := r.kinds()
	want := []containment.EventKind{
		containment.EventSkipped, containment.EventInstalled,
		containment.EventStarted, containment.EventLeaderExited, containment.EventEnded,
		containment.EventFailed,
		containment.EventStarted,
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) || got[len(got)-1] != containment.EventClosed {
		t.Errorf("%v\nwant %v … %v", got, want, containment.EventClosed)
	}
	if e := r.of(containment.EventSkipped)[0]; e.Strategy != "any/better" || !errors.Is(e.Err, errors.ErrUnsupported) {
		t.Errorf("skipped: %+v", e)
	}
	if e := r.of(containment.EventFailed)[0]; e.Label != "none" || e.Path != "/does/not/exist" || e.Err == nil {
		t.Errorf("failed: %+v", e)
	}
	if e := r.of(containment.EventStarted)[0]; e.Label != "seven" || e.PID != cmd.Process.Pid || e.Backend != b || e.Time.IsZero() {
		t.Errorf("started: %+v", e)
	}
	st := c.Stats()
	if st.Started != 2 || st.Failures != 1 || st.Ended < 1 {
		t.Errorf("%+v", st)
	}
	if runtime.GOOS != "windows" && (st.Forced != 1 || len(r.of(containment.EventForced)) != 1) {
		t.Errorf("forced: %+v, %v", st, got)
	}
	for _, line := range []string{
		`level=DEBUG msg="contain: started" strategy=noop/noop label=seven command=`,
		`level=DEBUG msg="contain: failed" strategy=noop/noop label=none command=/does/not/exist error=`,
		`level=DEBUG msg="contain: closed" strategy=noop/noop`,
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, text)
		}
	}
}

// TestEventHandlerMayAsk: what is called for an event may ask the containment that it is about.
func TestEventHandlerMayAsk(t *testing.T) {
	cfg := using(new(registrytest.Fake))
	var c *containment.Containment
	made := make(chan struct{})
	seen := make(chan containment.Stats, 1)
	cfg.OnEvent = func(e containment.Event) {
		<-made
		if e.Kind == containment.EventInstalled {
			seen <- c.Stats()
			_ = c.Status()
			_ = c.Backends()
		}
	}
	c = install(t, cfg)
	close(made)
	select {
	case <-seen:
	case <-time.After(childLife):
		t.Fatal("OnEvent cannot ask the containment")
	}
}

// TestBackends: a service can ask what runs, since when, and why it ended.
func TestBackends(t *testing.T) {
	c := install(t, plainly())
	if got := c.Backends(); len(got) != 0 {
		t.Errorf("none was started: %v", got)
	}
	var labels []string
	var all []*containment.Backend
	for i := range 3 {
		cmd := command(t, "sleep")
		b, err := c.Start(cmd, containment.Label(fmt.Sprint("backend ", i)))
		if err != nil {
			t.Fatal(err)
		}
		waiting(t, cmd)
		all = append(all, b)
		labels = append(labels, fmt.Sprint("backend ", i))
	}
	for i, b := range c.Backends() {
		st := b.Status()
		if st.Label != labels[i] || st.State != containment.BackendRunning || st.LeaderPID != b.PID() || st.Reason != "" ||
			st.Strategy != noop.Name || st.Exit != nil || time.Since(st.Started) > childLife || len(st.Members) != 1 {
			t.Errorf("%d: %+v", i, st)
		}
	}
	if n := c.Stats().Alive; n != 3 {
		t.Errorf("%d are alive", n)
	}
	if runtime.GOOS != "windows" {
		if _, err := all[1].Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if st := all[1].Status(); st.State != containment.BackendEnded || st.Reason != containment.EndStopped || len(st.Members) != 0 {
			t.Errorf("%+v", st)
		}
	}
}

func TestStartOptionsThatContradict(t *testing.T) {
	c := install(t, using(new(registrytest.Fake)))
	for what, opts := range map[string][]containment.StartOption{
		"no grace":       {containment.Grace(0)},
		"negative grace": {containment.Grace(-1)},
		"let go unseen":  {containment.StopSignal(os.Interrupt), containment.OnLeaderExit(containment.Leave)},
	} {
		cmd := command(t, "exit-0")
		if _, err := c.Start(cmd, opts...); err == nil || cmd.Process != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// plainly is the config of a service whose backends are started plainly.
func plainly() containment.Config {
	cfg := using(noop.New())
	cfg.BestEffort = true
	return cfg
}

func debugLog() (*slog.Logger, fmt.Stringer) {
	b := new(lockedBuffer)
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

// lockedBuffer takes what several goroutines log.

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
