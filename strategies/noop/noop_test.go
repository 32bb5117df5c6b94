package noop_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/noop"
)

const childEnv = "NOOP_TEST_CHILD"

// TestMain is also the child: it says that it runs, and ends with code 7 when
// its standard input does.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Stdout.WriteString("ready\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(7)
	}
	os.Exit(m.Run())
}

type child struct {
	*exec.Cmd
	registry.Process
	stdin  io.Closer
	stdout *bufio.Reader
}

func install(t *testing.T) registry.Installation {
	t.Helper()
	in, err := noop.New().Install(t.Context(), registry.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// start returns a backend that has said that it runs.
func start(t *testing.T, in registry.Installation) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skipf("no executable to start again on %s: %v", runtime.GOOS, err)
	}
	c := &child{Cmd: exec.Command(exe)}
	c.Env = append(os.Environ(), childEnv+"=1")
	c.stdin, _ = c.StdinPipe()
	stdout, _ := c.StdoutPipe()
	c.stdout = bufio.NewReader(stdout)
	if c.Process, err = in.Start(c.Cmd, registry.StartOptions{}); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no processes on %s: %v", runtime.GOOS, err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Cmd.Process.Kill()
		_ = c.Cmd.Wait()
	})
	if line, err := c.stdout.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return c
}

func mustBeDone(t *testing.T, p registry.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("Done is open 20 s after the end")
	}
}

func TestStartIsPlain(t *testing.T) {
	in := install(t)
	if got := in.Cleanup(); got != registry.CleanupUnsupportedNoop {
		t.Errorf("Cleanup: %q", got)
	}
	c := start(t, in)
	if c.PID() != c.Cmd.Process.Pid {
		t.Errorf("PID %d, cmd.Process.Pid %d", c.PID(), c.Cmd.Process.Pid)
	}
	if m, err := c.Members(); err != nil || len(m) != 1 || m[0].PID != c.PID() {
		t.Errorf("Members of a live backend: %v, %v", m, err)
	}
	c.stdin.Close()
	mustBeDone(t, c)

	// The leader is a zombie now, and its status is still there to be collected.
	if err := c.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v, want os.ErrProcessDone", err)
	}
	if err := errors.Join(c.Terminate(), c.Kill()); err != nil {
		t.Errorf("ending what has ended: %v", err)
	}
	if m, err := c.Members(); err != nil || len(m) != 0 {
		t.Errorf("Members after the end: %v, %v", m, err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Wait: %v, want exit status 7", err)
	}
}

func TestCloseEndsOnlyItsOwnLeaders(t *testing.T) {
	mine, other := install(t), install(t)
	a, b, foreign := start(t, mine), start(t, mine), start(t, other)
	if err := mine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBeDone(t, a)
	mustBeDone(t, b)
	if m, _ := foreign.Members(); len(m) != 1 {
		t.Error("Close ended another installation's backend")
	}
	if err := mine.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := mine.Start(exec.Command("x"), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Start after Close: %v, want ErrClosed", err)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConcurrentStarts(t *testing.T) {
	in := install(t)
	var wg sync.WaitGroup
	for range 8 {
		c := start(t, in)
		wg.Go(func() {
			c.stdin.Close()
			<-c.Done()
		})
	}
	wg.Wait()
	if err := in.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStartErrorIsThatOfExec(t *testing.T) {
	if _, err := os.Executable(); err != nil {
		t.Skip(err)
	}
	missing := func() *exec.Cmd { return &exec.Cmd{Path: "/nonexistent/program"} }
	plain := missing().Start()
	_, err := install(t).Start(missing(), registry.StartOptions{})
	var ours *registry.Error
	if !errors.As(err, &ours) || ours.Err.Error() != plain.Error() {
		t.Errorf("got %v, want exec's %v in a *registry.Error", err, plain)
	}
}

func TestInstallHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := noop.New().Install(ctx, registry.InstallOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Install: %v", err)
	}
}

func TestDescribePromisesNothing(t *testing.T) {
	s := noop.New()
	d := s.Describe()
	if d.Name != noop.Name || d.Platform != registry.PlatformAny || d.Target != s.Target() || len(d.Guarantees) != 0 {
		t.Errorf("Describe: %+v", d)
	}
	if got, err := registry.Default().Lookup(noop.Name); err != nil || got != s {
		t.Errorf("Lookup in the default registry: %v, %v", got, err)
	}
	d.Limits[0] = "changed"
	if s.Describe().Limits[0] == "changed" {
		t.Error("Describe hands out its own memory")
	}
}

// TestNeverChosenSilently resolves on a platform that has nothing else.
func TestNeverChosenSilently(t *testing.T) {
	var r registry.Registry
	r.MustRegister(noop.New())
	if _, err := r.Resolve(t.Context(), "plan9", registry.Wanted{}); !errors.Is(err, registry.ErrNoStrategy) {
		t.Errorf("by default: %v, want ErrNoStrategy", err)
	}
	for _, w := range []registry.Wanted{{BestEffort: true}, {Strategy: noop.Name}} {
		if res, err := r.Resolve(t.Context(), "plan9", w); err != nil || res.Description.Name != noop.Name {
			t.Errorf("%+v: %v, %v", w, res.Description.Name, err)
		}
	}
	if got := r.Target("plan9"); got != registry.CleanupUnsupportedNoop {
		t.Errorf("Target: %q", got)
	}
}

func TestBreakawayIsRefused(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	_, err := install(t).Start(cmd, registry.StartOptions{Breakaway: true})
	var e *registry.Error
	if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &e) || e.Strategy != noop.Name || cmd.Process != nil {
		t.Errorf("%v, process %v", err, cmd.Process)
	}
}
