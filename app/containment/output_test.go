package containment_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/noop"
)

func init() {
	children["talk"] = func() {
		os.Stdout.WriteString("out")
		os.Stderr.WriteString(strings.Repeat("a", 40<<10) + strings.Repeat("b", 40<<10))
		os.Exit(7)
	}
	// A program that leaves one behind which holds its output, until its input ends.
	children["leave-holder"] = func() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"=hold")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("out")
	}
	children["hold"] = func() { _, _ = io.Copy(io.Discard, os.Stdin) }
}

// TestOutput: Run, Output and CombinedOutput answer as exec.Cmd's do.
func TestOutput(t *testing.T) {
	c := install(t, using(new(registrytest.Fake)))
	if err := c.Run(command(t, "exit-0")); err != nil {
		t.Errorf("Run: %v", err)
	}
	var exit *exec.ExitError
	if err := c.Run(command(t, "exit-7")); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Run of what exits with 7: %v", err)
	}
	out, err := c.Output(command(t, "talk"))
	if string(out) != "out" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("Output: %q, %v", out, err)
	}
	if s := string(exit.Stderr); !strings.HasPrefix(s, "aaaa") || !strings.HasSuffix(s, "bbbb") || len(s) > 70<<10 || !strings.Contains(s, " bytes are not shown ") {
		t.Errorf("ExitError.Stderr: %d bytes", len(s))
	}
	out, err = c.CombinedOutput(command(t, "talk"))
	if len(out) != 3+80<<10 || !errors.As(err, &exit) {
		t.Errorf("CombinedOutput: %d bytes, %v", len(out), err)
	}
}

// TestOutputRefuses: what cmd.Output refuses is refused in the same words.
func TestOutputRefuses(t *testing.T) {
	c := install(t, using(new(registrytest.Fake)))
	for _, tt := range []struct {
		set   func(*exec.Cmd)
		run   func(*exec.Cmd) ([]byte, error)
		plain func(*exec.Cmd) ([]byte, error)
	}{
		{func(cmd *exec.Cmd) { cmd.Stdout = io.Discard }, func(cmd *exec.Cmd) ([]byte, error) { return c.Output(cmd) }, (*exec.Cmd).Output},
		{func(cmd *exec.Cmd) { cmd.Stdout = io.Discard }, func(cmd *exec.Cmd) ([]byte, error) { return c.CombinedOutput(cmd) }, (*exec.Cmd).CombinedOutput},
		{func(cmd *exec.Cmd) { cmd.Stderr = io.Discard }, func(cmd *exec.Cmd) ([]byte, error) { return c.CombinedOutput(cmd) }, (*exec.Cmd).CombinedOutput},
	} {
		ours, plain := command(t, "exit-0"), command(t, "exit-0")
		tt.set(ours)
		tt.set(plain)
		_, err := tt.run(ours)
		_, want := tt.plain(plain)
		if err == nil || err.Error() != want.Error() || ours.Process != nil {
			t.Errorf("%v, and exec.Cmd says %v", err, want)
		}
	}
	if _, err := c.Output(nil); err == nil {
		t.Error("Output of nil: no error")
	}
}

// TestOutputHeld: a process that was left behind and holds the output delays nothing
// for longer than WaitDelay, and the error says that output may be missing. Under
// noop, which lets it live; the drills have those that end it.
func TestOutputHeld(t *testing.T) {
	cfg := using(noop.New())
	cfg.Strategy = noop.Name
	c := install(t, cfg)
	for _, opt := range []registry.LeaderExit{containment.Kill, containment.Wait} {
		cmd := command(t, "leave-holder")
		in, hangUp, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdin, cmd.WaitDelay = in, 50*time.Millisecond
		out, err := c.Output(cmd, containment.OnLeaderExit(opt))
		if !errors.Is(err, exec.ErrWaitDelay) || string(out) != "out" {
			t.Errorf("%v: %q, %v", opt, out, err)
		}
		in.Close()
		hangUp.Close()
	}
}
