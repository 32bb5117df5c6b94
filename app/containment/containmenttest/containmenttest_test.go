package containmenttest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/app/containment/containmenttest"
	"github.com/seed329817d7/contain/registry/registrytest"
	_ "github.com/seed329817d7/contain/strategies/all"
)

// childEnv makes this test binary a program that sleeps: one that ends when it is
// asked to, or one that does not.
const childEnv = "CONTAINMENTTEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
}

// started starts a child below c and waits until it is ready.
func started(t *testing.T, c *containmenttest.Containment, child string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil || runtime.GOOS == "js" {
		t.Skipf("no process can be started on %s: %v", runtime.GOOS, err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

// recorder is a test whose failures are counted.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Helper()          {}
func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

// config takes what there is, so that the test runs on every system.
var config = containmenttest.WithConfig(containment.Config{BestEffort: true, Grace: 200 * time.Millisecond})

// TestNew: a backend that ends when it is asked to is no failure, one that had to be
// killed is, unless that is allowed.
func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name, child string
		opts        []containmenttest.Option
		fails       string
	}{
		{"ends", "obliging", []containmenttest.Option{containmenttest.WithConfig(containment.Config{BestEffort: true, Grace: time.Minute})}, ""},
		{"killed", "stubborn", []containmenttest.Option{config}, " had to be killed: "},
		{"allowed", "stubborn", []containmenttest.Option{config, containmenttest.AllowForced()}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.name == "ends" {
				t.Skip("nobody can be asked to end on Windows")
			}
			r := &recorder{TB: t}
			c := containmenttest.New(r, tt.opts...)
			started(t, c, tt.child)
			r.end()
			if all := strings.Join(r.failures, "\n"); tt.fails == "" && all != "" || !strings.Contains(all, tt.fails) {
				t.Errorf("failures: %q", all)
			}
		})
	}
}

// TestWithFake: the fake's errors are the containment's.
func TestWithFake(t *testing.T) {
	boom := errors.New("boom")
	c := containmenttest.New(t, containmenttest.WithFake(&registrytest.Fake{StartErr: boom}))
	if _, err := c.Start(exec.Command(os.Args[0])); !errors.Is(err, boom) {
		t.Error(err)
	}
}
