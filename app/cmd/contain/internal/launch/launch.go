package launch

import (
	"context"
	"log/slog"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"

	// Every built-in strategy registers itself.
	_ "github.com/seed329817d7/contain/strategies/all"
)

// Defaults is how a command is run if no flag is given, by a process with this
// PID. It is bound to its parent by RunOptions.DieWithParent, so the library is not to bind it too.
//
// The process 1 of a container is told to stop by a runtime that has a timer of
// its own, often a longer one: there is none of ours.
func Defaults(pid int) (containment.Config, registry.RunOptions) {
	cfg := containment.Config{OutliveParent: true, Logger: slog.New(slog.DiscardHandler)}
	opts := registry.RunOptions{Grace: containment.DefaultGrace, DieWithParent: true}
	if pid == 1 {
		opts.Grace = -1
	}
	return cfg, opts
}

// Run runs one command to its end. The error carries an exit code, if the
// command could not be executed.
func Run(cfg containment.Config, opts registry.RunOptions, args []string) (registry.RunResult, error) {
	cmd, err := command(args)
	if err != nil {
		return registry.RunResult{}, err
	}
	result, err := containment.Run(context.Background(), cfg, cmd, opts)
	if err != nil {
		if cause := execFailure(err, cmd.Path); cause != nil {
			err = cannotExecute(args[0], cause)
		}
	}
	return result, err
}
