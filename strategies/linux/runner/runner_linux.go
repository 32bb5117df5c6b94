package runner

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// attempts are the strategies that Run tries, in the registry's order.
var attempts = [...]struct {
	strategy string
	run      func(Command) (Result, error)
}{
	{"linux/cgroup", Command.inCgroup},
	{"linux/subreaper", Command.asSubreaper},
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
		result, err = attempts[i].run(c)
	}
	return result, err == nil
}

func (c Command) asSubreaper() (Result, error) {
	result, _, err := c.run(nil)
	return result, err
}

func (c Command) inCgroup() (Result, error) {
	own, err := cgroupfs.Own()
	if err == nil {
		err = own.Writable()
	}
	if err != nil {
		return Result{}, err
	}
	// The common case, and quicker than to be refused by mkdir.
	if err := unix.Faccessat(unix.AT_FDCWD, string(own), unix.W_OK, unix.AT_EACCESS); err == unix.EACCES || err == unix.EROFS {
		return Result{}, errors.ErrUnsupported
	}
	tree, err := cgroupfs.MakeTreeAfterSweep(own)
	if err != nil {
		return Result{}, errors.ErrUnsupported
	}
	result, removed, err := c.run(tree)
	if !removed {
		deadline := time.Now()
		if !result.Left { // else it has been tried for as long
			deadline = deadline.Add(supervisor.KillDeadline)
		}
		_ = tree.End(deadline)
		_ = tree.Lock.Close()
	}
	return result, err
}

// run runs c below a supervisor, in tree unless that is nil, which may have been
// removed then. After an error nothing has been started.
func (c Command) run(tree *cgroupfs.Tree) (result Result, removed bool, err error) {
	s := supervisor.NewRunSpec()
	s.Grace, s.DieWithParent = c.Grace, true
	s.KillDeadline, s.KillSignal = supervisor.KillDeadline, supervisor.KillSignal
	s.Path, s.Args, s.Env, s.Files = c.Path, c.Args, c.Env, 3
	s.Ignored = supervisor.IgnoredFromStart()
	if tree != nil {
		if err := s.BeBornIn(tree); err != nil {
			return Result{}, false, err
		}
		defer unix.Close(s.KillFD)
	}
	r, err := supervisor.Run(context.Background(), s)
	var failed *supervisor.StartError
	if tree != nil && errors.As(err, &failed) && failed.Step == supervisor.StepClone {
		err = errors.ErrUnsupported
	}
	return Result{Status: syscall.WaitStatus(r.Status), Left: r.Late}, r.CgroupRemoved, err
}
