//go:build unix

package containment_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// The launcher is a child that calls Run, as contain run does; what it runs is
// this binary once more. They say what happens to them on standard output.
const (
	innerEnv = "CONTAINMENT_TEST_INNER" // the child that the launcher runs
	graceEnv = "CONTAINMENT_TEST_GRACE"
)

func init() {
	children["launcher"] = launcher
	children["launched-by-a-shell"] = launchAndExit
	children["rewriter"] = rewriter
	children["nohup"] = nohup
	children["counter"] = counter
	children["suicide"] = func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func launcher() { launchWith(nil) }

func rewriter() {
	launchWith(map[syscall.Signal]syscall.Signal{syscall.SIGHUP: syscall.SIGUSR1, syscall.SIGINT: 0, syscall.SIGTERM: syscall.SIGQUIT})
}

func launchWith(rewrite map[syscall.Signal]syscall.Signal) {
	exe, _ := os.Executable()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+os.Getenv(innerEnv))
	grace, _ := time.ParseDuration(os.Getenv(graceEnv))
	res, err := containment.Run(context.Background(), cmd,
		running(registry.RunOptions{Grace: grace, DieWithParent: true, Rewrite: rewrite}, new(registrytest.Fake)))
	fmt.Println("result", res.ExitCode, res.Signal, res.Forced, err)
}

// nohup becomes a launcher that was started with SIGHUP ignored.
func nohup() {
	signal.Ignore(syscall.SIGHUP)
	exe, _ := os.Executable()
	_ = os.Setenv(childEnv, "launcher")
	err := syscall.Exec(exe, os.Args, os.Environ())
	fmt.Println("error", err)
}

// counter says which signals it got, and ends on SIGTERM.
func counter() {
	got := make(chan os.Signal, 64)
	signal.Notify(got)
	ready()
	for sig := range got {
		if sig != syscall.SIGURG { // the Go runtime's own
			fmt.Println("got", sig)
		}
		if sig == syscall.SIGTERM {
			os.Exit(3)
		}
	}
}

// launchAndExit is a parent that ends before the launcher that it started.
func launchAndExit() {
	exe, _ := os.Executable()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=launcher")
	cmd.Stdout = os.Stdout
	out, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		fmt.Println("error", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test says so
	_ = out.Close()
}

type launched struct {
	*exec.Cmd
	out   *bufio.Reader
	stdin io.Closer
}

// launch starts a launcher in a session of its own, without a terminal, and
// waits until what it runs is ready.
func launch(t *testing.T, child, inner string, grace time.Duration) *launched {
	t.Helper()
	l := &launched{Cmd: command(t, child)}
	l.Env = append(l.Env, innerEnv+"="+inner, graceEnv+"="+grace.String())
	l.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := l.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.out = bufio.NewReader(out)
	if l.stdin, err = l.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-l.Process.Pid, syscall.SIGKILL) }) // before the leader is waited for: nothing else has that group
	if inner != "suicide" {
		l.says(t, "ready")
	}
	return l
}

func (l *launched) says(t *testing.T, want string) {
	t.Helper()
	line := make(chan string, 1)
	go func() {
		text, err := l.out.ReadString('\n')
		if err != nil {
			text += err.Error()
		}
		line <- strings.TrimSuffix(text, "\n")
	}()
	select {
	case got := <-line:
		if got != want {
			t.Fatalf("it says %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not say %q within 20 s", want)
	}
}

func (l *launched) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := l.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// TestRunForwardsEachSignalOnce: after each, the next thing said is about the next.
func TestRunForwardsEachSignalOnce(t *testing.T) {
	l := launch(t, "launcher", "counter", time.Minute)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM} {
		l.signal(t, sig)
		l.says(t, "got "+sig.String())
	}
	for _, sig := range []syscall.Signal{syscall.SIGURG, syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGWINCH} {
		l.signal(t, sig) // the kernel delivers the lower numbers first, so TERM comes after PIPE
	}
	l.signal(t, syscall.SIGTERM)
	l.says(t, "got terminated")
	l.says(t, "result 3 0 0 <nil>")
}

// TestRunRewritesSignals: as another, not at all, and SIGTERM starts the grace as
// whatever it is passed on.
func TestRunRewritesSignals(t *testing.T) {
	l := launch(t, "rewriter", "counter", 100*time.Millisecond)
	l.signal(t, syscall.SIGINT)
	l.signal(t, syscall.SIGHUP)
	l.says(t, "got "+syscall.SIGUSR1.String())
	l.signal(t, syscall.SIGUSR2)
	l.says(t, "got "+syscall.SIGUSR2.String())
	l.signal(t, syscall.SIGTERM)
	l.says(t, "got "+syscall.SIGQUIT.String())
	l.says(t, "result -1 9 1 <nil>")
}

func TestRunKillsAfterTheGrace(t *testing.T) {
	l := launch(t, "launcher", "stubborn", 100*time.Millisecond)
	l.signal(t, syscall.SIGTERM)
	l.says(t, "result -1 9 1 <nil>")
}

// TestRunOnlyTermStartsTheGrace, and a negative grace is none.
func TestRunOnlyTermStartsTheGrace(t *testing.T) {
	for _, tt := range []struct {
		grace time.Duration
		sig   syscall.Signal
	}{{50 * time.Millisecond, syscall.SIGINT}, {-1, syscall.SIGTERM}} {
		l := launch(t, "launcher", "stubborn", tt.grace)
		l.signal(t, tt.sig)
		// Half a second without an end is what can be shown; then it is killed.
		time.Sleep(500 * time.Millisecond)
		l.signal(t, syscall.SIGHUP)
		l.says(t, "result -1 1 0 <nil>")
	}
}

func TestRunMirrorsADeathBySignal(t *testing.T) {
	l := launch(t, "launcher", "suicide", time.Minute)
	l.says(t, "result -1 9 0 <nil>")
}

func TestRunLeavesIgnoredSignalsIgnored(t *testing.T) {
	l := launch(t, "nohup", "sleep", time.Minute)
	l.signal(t, syscall.SIGHUP) // would end the sleeper, and comes before INT
	l.signal(t, syscall.SIGINT)
	l.says(t, "result -1 2 0 <nil>")
}

// TestRunEndsWithItsParent: by a SIGTERM, and by force after the grace.
func TestRunEndsWithItsParent(t *testing.T) {
	l := launch(t, "launched-by-a-shell", "counter", time.Minute)
	if err := l.stdin.Close(); err != nil { // its parent exits now
		t.Fatal(err)
	}
	l.says(t, "got terminated")
	l.says(t, "result 3 0 0 <nil>")
	l = launch(t, "launched-by-a-shell", "stubborn", 50*time.Millisecond)
	if err := l.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	l.says(t, "result -1 9 1 <nil>")
}
