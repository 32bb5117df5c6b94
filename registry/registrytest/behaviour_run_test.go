package registrytest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// runner is a Runner that does what Run promises for a command of one process, but for
// what twist changes. The zero one changes nothing.
type runner struct {
	twisted
	want  string // what the kit says of it
	twist runTwist
}

type runTwist struct {
	code, silent, deaf, lost, unclear bool
}

// runners are those of TestRunnerBehaviour, which a process that calls Run finds by name.
func runners() (all []registry.Strategy) {
	for name, r := range map[string]*runner{
		"any/run":         {},
		"any/run-code":    {want: "run: the command exits", twist: runTwist{code: true}},
		"any/run-silent":  {want: "run: the command exits", twist: runTwist{silent: true}},
		"any/run-lost":    {want: "run: the command is killed", twist: runTwist{lost: true}},
		"any/run-deaf":    {want: "run: SIGTERM comes", twist: runTwist{deaf: true}},
		"any/run-unclear": {want: "run: the program is not there", twist: runTwist{unclear: true}},
		"any/run-leaving": {want: "run: the leader leaves a process: after Run"},
	} {
		r.Name = name
		r.Description.Guarantees = []registry.Guarantee{}
		if name == "any/run-leaving" {
			r.Description.Guarantees = guarantees("leader-exit=tree/kernel")
		}
		all = append(all, r)
	}
	return all
}

func (r *runner) Run(_ context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	failed := registry.RunResult{ExitCode: -1}
	if err := cmd.Start(); err != nil && r.twist.unclear {
		return failed, errors.New("it does not start")
	} else if err != nil {
		return failed, err
	}
	if !r.twist.silent {
		opts.Started()
	}
	go func() {
		sig := <-signals
		if r.twist.deaf {
			sig = os.Kill
		}
		_ = cmd.Process.Signal(sig)
	}()
	_ = cmd.Wait()
	result := registry.RunResult{ExitCode: cmd.ProcessState.ExitCode()}
	if s, ok := cmd.ProcessState.Sys().(interface {
		Signaled() bool
		Signal() syscall.Signal
	}); ok && s.Signaled() {
		result.Signal = int(s.Signal())
	}
	if r.twist.code && result.ExitCode > 0 || r.twist.lost && result.ExitCode != 7 {
		result = registry.RunResult{}
	}
	return result, nil
}

// TestRunnerBehaviour: the kit finds each of these faults of a Runner, and none in one
// that has none.
func TestRunnerBehaviour(t *testing.T) {
	sleeper(t) // or skip, where nothing can be started
	for _, s := range runners() {
		r := s.(*runner)
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			if r.twist.deaf && registry.CurrentPlatform() == registry.PlatformWindows {
				t.Skip("it has no SIGTERM")
			}
			err := registrytest.Test(t.Context(), r)
			name, detail, _ := strings.Cut(r.want, ": ")
			switch {
			case r.want == "" && err != nil:
				t.Error(err)
			case r.want != "" && (err == nil || !strings.Contains("\n"+err.Error(), "\n"+name+": ") || !strings.Contains(err.Error(), ": "+detail+": ")):
				t.Errorf("not found: %q in %v", r.want, err)
			}
		})
	}
}
