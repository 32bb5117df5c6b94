package runner

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// attempts are the strategies that Run tries, in the registry's order.
var attempts = [...]struct {
	strategy string
	run      func(context.Context, *supervisor.RunSpec) (supervisor.Result, error)
}{
	{"linux/cgroup", supervisor.RunInCgroup},
	{"linux/subreaper", supervisor.Run},
}

// A Command is what to run, with this process's own streams and working directory.
type Command struct {
	Path      string // of an executable
	Args, Env []string
	// Grace is how long after a SIGTERM to this process what is left is ended by
	// force; negative means never.
	Grace time.Duration
}

// Environ returns the environment that this process was executed with, as it was.
func Environ() []string { return supervisor.OriginalEnviron() }

// Result is how a command ended.
type Result struct {
	Status syscall.WaitStatus
	// Left: the kill deadline of the contract passed with processes left.
	Left bool
}

// Run runs c to its end under linux/cgroup or else linux/subreaper, as registry.Runner does
// with this Grace, DieWithParent, and no other option. It takes over the process's
// signals and descriptors.
//
// If started is false, nothing was started and nothing is left of the attempt:
// somebody else may make another, and say what is wrong.
func (c Command) Run() (result Result, started bool) {
	err := errors.ErrUnsupported
	for i := 0; i < len(attempts) && errors.Is(err, errors.ErrUnsupported); i++ {
		var r supervisor.Result
		r, err = attempts[i].run(context.Background(), c.spec())
		result = Result{Status: syscall.WaitStatus(r.Status), Left: r.Late}
	}
	return result, err == nil
}

// spec describes c to a supervisor.
func (c Command) spec() *supervisor.RunSpec {
	s := supervisor.NewRunSpec()
	s.Grace, s.DieWithParent = c.Grace, true
	s.KillDeadline, s.KillSignal = supervisor.KillDeadline, supervisor.KillSignal
	s.Path, s.Args, s.Env, s.Files = c.Path, c.Args, c.Env, 3
	s.Ignored = supervisor.IgnoredFromStart()
	return s
}
