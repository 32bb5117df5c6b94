package containment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func TestInstallTakesTheStrongestThatWorks(t *testing.T) {
	notHere := &registry.Error{Op: "install", Strategy: "any/cgroup", Err: fmt.Errorf("read-only: %w", errors.ErrUnsupported)}
	broken := &registry.Error{Op: "install", Strategy: "any/cgroup", Err: &fs.PathError{Op: "mkdir", Path: "/x", Err: syscall.EIO}}
	kernel, err := registry.ParseRequirement("owner-killed=tree/kernel")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what    string
		cgroup  error
		change  func(*containment.Config)
		want    string // "" for an error
		skipped []string
	}{
		{what: "default", want: "any/cgroup", skipped: []string{"any/pidns"}},
		{what: "unsupported here", cgroup: notHere, want: "any/subreaper", skipped: []string{"any/pidns", "any/cgroup"}},
		{what: "broken here", cgroup: broken},
		{what: "broken, best effort", cgroup: broken, change: func(c *containment.Config) { c.BestEffort = true },
			want: "any/subreaper", skipped: []string{"any/pidns", "any/cgroup"}},
		{what: "by name", change: func(c *containment.Config) { c.Strategy = "any/weak" }, want: "any/weak"},
		{what: "by an unknown name", change: func(c *containment.Config) { c.Strategy = "any/other" }},
		{what: "by name, required too", change: func(c *containment.Config) {
			c.Strategy, c.Require = "any/weak", []registry.Requirement{kernel}
		}},
		{what: "required", change: func(c *containment.Config) { c.Require = []registry.Requirement{kernel} }, want: "any/pidns",
			skipped: []string{"any/cgroup", "any/subreaper", "any/weak"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			pidns := fakeWith("any/pidns", "owner-killed=tree/kernel")
			pidns.Description.OptIn = true
			cgroup := fakeWith("any/cgroup", "owner-killed=tree/supervisor", "both-killed=child/kernel")
			cgroup.InstallErr = tt.cgroup
			fakes := []*registrytest.Fake{pidns, cgroup, fakeWith("any/subreaper", "owner-killed=tree/supervisor"), fakeWith("any/weak", "owner-killed=child/kernel")}
			cfg := using(fakes[0], fakes[1], fakes[2], fakes[3])
			if tt.change != nil {
				tt.change(&cfg)
			}
			c, err := containment.Install(t.Context(), cfg)
			if (err != nil) != (tt.want == "") {
				t.Fatalf("Install: %v", err)
			}
			installs, probes := 0, 0
			for _, f := range fakes {
				installs, probes = installs+f.Installs(), probes+f.Probes()
			}
			if probes != 0 {
				t.Error("probed: Install itself is to be the probe")
			}
			if err != nil {
				if c != nil || installs != 0 {
					t.Errorf("%d strategies are in force after a failure", installs)
				}
				if !errors.Is(err, registry.ErrNoStrategy) {
					t.Errorf("%v does not wrap ErrNoStrategy", err)
				}
				oneLine(t, err)
				return
			}
			skipped := []string{}
			for _, s := range c.Skipped() {
				skipped = append(skipped, s.Name)
			}
			if c.Strategy() != tt.want || installs != 1 || !slices.Equal(skipped, append([]string{}, tt.skipped...)) {
				t.Errorf("%s is in force, %d in all, skipped %v; want %s, skipped %v", c.Strategy(), installs, skipped, tt.want, tt.skipped)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestInstallErrorIsOneLine: every strategy, what was attempted, why it failed and
// what to do; and each cause within reach.
func TestInstallErrorIsOneLine(t *testing.T) {
	weak, cgroup, broken := fakeWith("any/weak", "owner-killed=child"), fakeWith("any/cgroup", "owner-killed=tree/kernel"), fakeWith("any/broken", "owner-killed=tree")
	cgroup.InstallErr = &registry.Error{Op: "install", Strategy: "any/cgroup",
		Err: fmt.Errorf("mkdir /sys/fs/cgroup/x: read-only; set Delegate=yes: %w", errors.ErrUnsupported)}
	broken.InstallErr = &registry.Error{Op: "install", Strategy: "any/broken",
		Err: errors.Join(registry.ErrParentDeathSignal, &fs.PathError{Op: "open", Path: "/proc/self/ns", Err: syscall.EACCES})}
	_, err := containment.Install(t.Context(), using(weak, cgroup, broken))
	want := fmt.Sprintf("contain: install: no containment strategy qualifies on %s for owner-killed=tree: "+
		"any/cgroup: install: mkdir /sys/fs/cgroup/x: read-only; set Delegate=yes: unsupported operation; "+
		"any/broken: install: parent-death signal not in force; open /proc/self/ns: permission denied; "+
		"to accept less, name a strategy, require less, or ask for the best effort", runtime.GOOS)
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	var (
		multi *multierror.Error
		none  *registry.NoStrategyError
		typed *registry.Error
		path  *fs.PathError
		errno syscall.Errno
	)
	if !errors.As(err, &multi) || !errors.As(err, &none) || !errors.As(err, &typed) || !errors.As(err, &path) || !errors.As(err, &errno) || errno != syscall.EACCES {
		t.Errorf("errors.As does not reach everything in %#v", err)
	}
	for _, is := range []error{registry.ErrNoStrategy, registry.ErrParentDeathSignal, errors.ErrUnsupported, syscall.EACCES} {
		if !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}

	_, err = containment.Install(t.Context(), using())
	oneLine(t, err, "contain: install: ", "none is registered for it; import a strategy package")
	_, err = containment.Install(t.Context(), using(fakeWith("any/weak")))
	oneLine(t, err, "any/weak: declares less than required (owner-killed=tree)", "to accept less")
	cfg := using(weak)
	cfg.Strategy = "any/typo"
	_, err = containment.Install(t.Context(), cfg)
	oneLine(t, err, `"any/typo"`, "registered: any/weak")
	cfg.Grace = -time.Second
	_, err = containment.Install(t.Context(), cfg)
	oneLine(t, err, "Config.Grace is -1s")
}

// cancelling is in force by the time that its caller has given up.
type cancelling struct {
	registrytest.Fake
	cancel context.CancelFunc
}

func (s *cancelling) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	in, err := s.Fake.Install(ctx, opts)
	s.cancel()
	return in, err
}

func TestInstallHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	late := &cancelling{cancel: cancel}
	next := fakeWith("any/next", "owner-killed=tree/supervisor")
	cfg := using(late, next)
	cfg.BestEffort = true
	if _, err := containment.Install(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled meanwhile: %v", err)
	}
	if late.Installs() != 1 || late.InForce() != 0 || next.Installs() != 0 {
		t.Errorf("%d of %d installed are in force, %d of the next", late.InForce(), late.Installs(), next.Installs())
	}
	_, err := containment.Install(ctx, cfg)
	if !errors.Is(err, context.Canceled) || late.Installs() != 1 {
		t.Errorf("cancelled before: %v, %d installs", err, late.Installs())
	}
	oneLine(t, err, "contain: install: context canceled")
}

func TestStartRefuses(t *testing.T) {
	fake := new(registrytest.Fake)
	cfg := using(fake)
	c := containment.New(cfg)
	refuses := func(what string, err error, is error, words ...string) {
		t.Helper()
		var typed *registry.Error
		if err == nil || !errors.As(err, &typed) || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: %v", what, err)
			return
		}
		oneLine(t, err, words...)
	}
	try := func(cmd *exec.Cmd, opts ...containment.StartOption) error {
		b, err := c.Start(cmd, opts...)
		if b != nil {
			t.Error("a backend together with an error")
		}
		return err
	}
	refuses("before Install", try(exec.Command("x")), containment.ErrNotInstalled, "start x: ", "start backends in OnStart")
	refuses("Wrap before Install", wrapError(c, exec.Command("x")), containment.ErrNotInstalled, "wrap x: ")
	if err := c.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Install(t.Context()); err != nil || fake.Installs() != 1 {
		t.Errorf("Install again: %v, %d installs", err, fake.Installs())
	}

	refuses("nil", try(nil), nil, "the command is nil")
	refuses("Wrap of nil", wrapError(c, nil), nil, "the command is nil")
	started := command(t, "exit-0")
	if err := started.Run(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{try(started), wrapError(c, started)} {
		if err == nil || err.Error() != started.Start().Error() { // os/exec's own
			t.Errorf("started already: %v", err)
		}
	}
	missing := exec.Command("contain-test-no-such-command")
	out, err := missing.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := try(missing); err != missing.Err || !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("cmd.Err: %v", err)
	}
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the pipe of a command that failed is open: %v", err)
	}
	if err := wrapError(c, exec.Command("contain-test-no-such-command")); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("Wrap of cmd.Err: %v", err)
	}
	if err := try(new(exec.Cmd)); err == nil || err.Error() != new(exec.Cmd).Start().Error() {
		t.Errorf("no path: %v", err)
	}
	refuses("an unknown option", try(command(t, "exit-0"), containment.OnLeaderExit(9)), nil, "OnLeaderExit(9)")

	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	refuses("after Close", try(exec.Command("x")), registry.ErrClosed)
	refuses("Wrap after Close", wrapError(c, exec.Command("x")), registry.ErrClosed)
	if n := len(fake.Started()) + len(fake.Wrapped()); n != 0 {
		t.Errorf("%d commands reached the strategy", n)
	}
}

func TestStartFailureIsPassedOn(t *testing.T) {
	boom := errors.New("boom")
	c := install(t, using(&registrytest.Fake{StartErr: boom, WrapErr: boom}))
	if b, err := c.Start(exec.Command("/bin/x")); b != nil || !errors.Is(err, boom) {
		t.Errorf("Start: %v", err)
	}
	if _, err := c.Wrap(exec.Command("/bin/x")); !errors.Is(err, boom) {
		t.Errorf("Wrap: %v", err)
	}
	if n := c.Status().Backends; n != 0 {
		t.Errorf("%d backends are remembered", n)
	}
}

func TestStartLeavesCmdAsEver(t *testing.T) {
	c := install(t, using(new(registrytest.Fake)))
	cmd := command(t, "exit-7")
	b, err := c.Start(cmd, containment.OnLeaderExit(containment.Wait))
	if err != nil {
		t.Fatal(err)
	}
	soon(t, b.Done(), "Done before Wait")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Wait: %v", err)
	}
}

// TestGoneBackendsAreForgotten: neither memory nor goroutines grow with them.
func TestGoneBackendsAreForgotten(t *testing.T) {
	s := &script{onTerminate: ends}
	c := install(t, using(s))
	before := runtime.NumGoroutine()
	for range 10_000 {
		b, err := c.Start(&exec.Cmd{Path: "/opt/backend"})
		if err != nil {
			t.Fatal(err)
		}
		s.backlog[0].end()
		s.backlog = nil
		<-b.Done()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		backends, more := c.Status().Backends, runtime.NumGoroutine()-before
		if backends == 0 && more <= 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d backends and %d goroutines are left", backends, more)
		}
	}
}

func TestCloseEndsAllAtOnce(t *testing.T) {
	const n = 6
	fake := new(registrytest.Fake)
	cfg := using(fake)
	cfg.Grace = time.Second
	c := install(t, cfg)
	other := install(t, using(fake))
	_, foreign := start(t, other, "sleep")
	var own []*containment.Backend
	for range n {
		_, b := start(t, c, "stubborn")
		own = append(own, b)
	}
	began := time.Now()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > n*cfg.Grace/2 {
		t.Errorf("%d backends took %v: one after the other?", n, took)
	}
	for _, b := range own {
		soon(t, b.Done(), "Done after Close")
	}
	select {
	case <-foreign.Done():
		t.Error("Close ended the backend of another Install")
	default:
	}
	if fake.InForce() != 1 {
		t.Errorf("%d installations are in force", fake.InForce())
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func TestCloseFitsTheDeadline(t *testing.T) {
	cfg := using(new(registrytest.Fake))
	cfg.Grace = time.Minute
	c := install(t, cfg)
	_, b := start(t, c, "stubborn")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	soon(t, b.Done(), "Done after Close")
}

func TestCloseComposesErrors(t *testing.T) {
	boom, denied := errors.New("boom"), errors.New("denied")
	s := &script{onTerminate: func(*scripted) error { return errors.ErrUnsupported }, onKill: func(p *scripted) error {
		if p.pid == 100 {
			return denied
		}
		return ends(p)
	}}
	s.CloseErr = boom
	c, err := containment.Install(t.Context(), using(s))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Start(&exec.Cmd{Path: "/opt/backend"}); err != nil {
			t.Fatal(err)
		}
	}
	s.backlog[1].pid = 200
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = c.Close(ctx)
	for _, is := range []error{boom, denied, containment.ErrLeft} {
		if !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}
	oneLine(t, err, "stop backend (pid 100)", "boom")
	if strings.Contains(err.Error(), "pid 200") {
		t.Errorf("an error for what ended well: %v", err)
	}

	// What is left is tried again, and then all is well.
	s.onKill, s.CloseErr = ends, nil
	if err := c.Close(t.Context()); err != nil || s.closed != 2 {
		t.Errorf("Close again: %v, %d closes", err, s.closed)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("and again: %v", err)
	}
}

func TestInstallAgain(t *testing.T) {
	fake := new(registrytest.Fake)
	c := install(t, using(fake))
	for round := 1; round <= 3; round++ {
		cmd, b := start(t, c, "sleep")
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		soon(t, b.Done(), "Done")
		_ = cmd.Wait()
		if c.Strategy() != "" || c.Status().State != containment.StateClosed || fake.InForce() != 0 {
			t.Errorf("round %d: %+v", round, c.Status())
		}
		if err := c.Install(t.Context()); err != nil || fake.Installs() != round+1 {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	never := containment.New(using(fake))
	if err := never.Close(t.Context()); err != nil {
		t.Errorf("Close of what never was in force: %v", err)
	}
}

// TestConcurrency mixes everything; what was started is ended in the end.
func TestConcurrency(t *testing.T) {
	s := &script{onTerminate: ends, onKill: ends}
	c := install(t, using(s))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				switch b, err := c.Start(&exec.Cmd{Path: "/opt/backend"}); {
				case errors.Is(err, registry.ErrClosed):
				case err != nil:
					t.Error(err)
				case i%2 == 0:
					if _, err := b.Stop(t.Context()); err != nil {
						t.Error(err)
					}
				}
				_, _, _ = c.Status(), c.Skipped(), c.Cleanup()
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			if err := errors.Join(c.Close(t.Context()), c.Install(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range s.backlog { // of earlier sessions: a real strategy ends in Close what was started meanwhile
		p.end()
	}
}

func TestCloseDoesNotWaitForeverForItsTurn(t *testing.T) {
	t.Parallel()
	s := &script{} // nothing ends
	cfg := using(s)
	c, err := containment.Install(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(&exec.Cmd{Path: "/opt/backend"}); err != nil {
		t.Fatal(err)
	}
	slow, stopSlow := context.WithCancel(t.Context())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		_ = c.Close(slow)
	}()
	for deadline := time.Now().Add(20 * time.Second); c.Status().State != containment.StateClosed && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	hurried, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err = c.Close(hurried)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	oneLine(t, err, "another Install or Close is under way")
	stopSlow()
	soon(t, finished, "the slow Close")
	s.backlog[0].end()
}

func TestWrapUnsupported(t *testing.T) {
	s := new(script) // its installation is no Wrapper
	c := install(t, using(s))
	cmd := command(t, "exit-0")
	before := fmt.Sprint(*cmd)
	_, err := c.Wrap(cmd)
	if !errors.Is(err, errors.ErrUnsupported) || fmt.Sprint(*cmd) != before {
		t.Errorf("%v", err)
	}
	oneLine(t, err, "any/fake: wrap ", "use Start")
}

// wrapping is a script whose installation can wrap: what it returns is started
// by the test.
type wrapping struct{ script }

type wrappingInstallation struct{ scriptInstallation }

func (s *wrapping) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	return wrappingInstallation{scriptInstallation{&s.script}}, ctx.Err()
}

func (i wrappingInstallation) Wrap(*exec.Cmd, registry.StartOptions) (registry.Process, error) {
	p := i.newProcess(0)
	p.members = nil
	return p, nil
}

func TestWrappedIsEndedByClose(t *testing.T) {
	s := new(wrapping)
	s.onTerminate = ends
	c := install(t, using(s))
	for range 2 {
		if _, err := c.Wrap(command(t, "exit-0")); err != nil {
			t.Fatal(err)
		}
	}
	started, never := s.backlog[0], s.backlog[1]
	started.pid, started.members = 300, []registry.Member{{PID: 300}}
	if n := c.Status().Backends; n != 2 {
		t.Errorf("%d backends", n)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	soon(t, started.Done(), "Done of a wrapped command that was started")
	if terms, kills := never.counts(); terms != 0 || kills != 1 {
		t.Errorf("one that was never started was asked to end %d times and killed %d times, want that it cannot be started", terms, kills)
	}
}

func wrapError(c *containment.Containment, cmd *exec.Cmd) error {
	_, err := c.Wrap(cmd)
	return err
}
