package exitwatch

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

const childEnv = "EXITWATCH_TEST_CHILD"

// TestMain is also the child: it ends with code 7 when its standard input does.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(7)
	}
	os.Exit(m.Run())
}

// startChild returns a child that runs until end is closed.
func startChild(t testing.TB) (cmd *exec.Cmd, end io.Closer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skipf("no executable to start again on %s: %v", runtime.GOOS, err)
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no processes on %s: %v", runtime.GOOS, err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, stdin
}

func mustWatch(t testing.TB, p *os.Process) <-chan struct{} {
	t.Helper()
	exited, err := Watch(p)
	if err != nil {
		t.Fatal(err)
	}
	return exited
}

// mustClose and wantStatus7 may be called from any goroutine.
func mustClose(t testing.TB, exited <-chan struct{}) {
	t.Helper()
	select {
	case <-exited:
	case <-time.After(20 * time.Second):
		t.Error("the exit went unnoticed for 20 s")
	}
}

func wantStatus7(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Wait: %v, want exit status 7", err)
	}
}

func TestExitIsSeenAndStatusIsLeft(t *testing.T) {
	cmd, end := startChild(t)
	exited := mustWatch(t, cmd.Process)
	select {
	case <-exited:
		t.Fatal("closed while the child runs")
	default:
	}
	end.Close()
	mustClose(t, exited)
	wantStatus7(t, cmd)
}

func TestExitedAlready(t *testing.T) {
	cmd, end := startChild(t)
	first := mustWatch(t, cmd.Process)
	end.Close()
	mustClose(t, first)
	mustClose(t, mustWatch(t, cmd.Process))
	wantStatus7(t, cmd)
}

// TestWaitBeside waits for the child, as os/exec users do, while it is watched.
func TestWaitBeside(t *testing.T) {
	var wg sync.WaitGroup
	for range 16 {
		cmd, end := startChild(t)
		exited := mustWatch(t, cmd.Process)
		wg.Go(func() { wantStatus7(t, cmd) })
		wg.Go(func() { mustClose(t, exited) })
		end.Close()
	}
	wg.Wait()
}
