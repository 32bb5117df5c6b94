package containment_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/linux"
	"github.com/seed329817d7/contain/strategies/noop"
)

func subreaper() containment.Config {
	return containment.Config{Strategy: linux.SubreaperName, OutliveParent: true}
}

// TestOutputEndsHolder: under a strategy with a tree the process that holds the output
// is ended, and all of the output is there. The control is TestOutputHeld.
func TestOutputEndsHolder(t *testing.T) {
	c := install(t, subreaper())
	cmd := command(t, "leave-holder")
	in, hangUp, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp.Close()
	defer in.Close()
	cmd.Stdin = in
	out, err := c.Output(cmd)
	if err != nil || string(out) != "out" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestRunReportsLeader: a command that has ended by itself, and whose proxy is killed at
// that moment, has ended as it ended.
func TestRunReportsLeader(t *testing.T) {
	c := install(t, subreaper())
	judged, lost := 0, 0
	for i := range 40 {
		want := registry.ExitState{ExitCode: i % 2 * 7}
		name := []string{"exit-0", "exit-7"}[i%2]
		ctx, cancel := context.WithCancel(t.Context())
		like := command(t, name)
		cmd := exec.CommandContext(ctx, like.Path)
		cmd.Env = append(like.Env, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.Copy(io.Discard, out)
			cancel() // which kills the proxy
		}()
		opt := []registry.LeaderExit{containment.Kill, containment.Wait}[i/2%2]
		err = c.Run(cmd, containment.OnLeaderExit(opt))
		got := registry.ExitState{ExitCode: -1}
		var own *containment.ExitError
		var exit *exec.ExitError
		if errors.Is(err, context.Canceled) { // during Start, or the proxy had ended as the leader did
			continue
		}
		judged++
		switch {
		case err == nil:
			got = registry.ExitState{}
		case errors.As(err, &own):
			got = own.State
		case errors.As(err, &exit):
			got.ExitCode = exit.ExitCode()
		}
		if got != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if cmd.ProcessState.ExitCode() != want.ExitCode {
			lost++
		}
	}
	if judged == 0 {
		t.Error("every start was cancelled, so this shows nothing")
	}
	t.Logf("of %d, cmd.ProcessState had another status in %d", judged, lost)
}

// TestBackendExitState: the leader's status is there under every strategy, and not before
// it has ended.
func TestBackendExitState(t *testing.T) {
	for _, name := range []string{linux.SubreaperName, noop.Name} {
		c := install(t, containment.Config{Strategy: name, OutliveParent: true})
		cmd := command(t, "exit-7")
		b, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if name == noop.Name {
			if s, err := b.ExitState(); !errors.Is(err, containment.ErrRunning) {
				t.Errorf("%s, before Wait: %v, %v", name, s, err)
			}
		}
		_ = cmd.Wait()
		<-b.Done()
		if s, err := b.ExitState(); err != nil || s != (registry.ExitState{ExitCode: 7}) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}
