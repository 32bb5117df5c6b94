package main

import (
	"context"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
)

const runLong = `Run CMD so that nothing it starts outlives it: not when CMD exits, not when
contain is killed with SIGKILL, not the grandchild, not the daemon.

CMD gets contain's standard streams, environment and directory. Signals sent to
contain are passed on to CMD; SIGTERM also starts the --grace timer, after which
what is left is ended by force. When CMD exits, what it left behind is ended too
(--on-exit=kill); with --on-exit=wait contain waits for it, with leave lets it go.

Without --strategy, --require or --best-effort the strongest strategy that works
here is taken, and contain refuses to run CMD if it would not end the whole tree
when contain is killed (owner-killed=tree). contain describe lists the strategies.

Exit code:
  CMD's   CMD exited
  128+n   CMD died of signal n; of the terminal's ^C contain then dies itself, so
          that a shell's loop around it ends
  127     CMD was not found
  126     CMD was found but cannot be executed
  125     contain itself failed: a wrong flag, or no strategy qualifies`

const runExample = `  # a service
  contain run -- brokerd --listen :8080

  # give it 30 seconds after SIGTERM (the default is 5)
  contain run --grace 30s -- brokerd

  # a required guarantee, in force or exit 125
  contain run --require owner-killed=tree --require supervisor-killed=tree -- make -j8 test

  # one strategy and no other
  contain run --strategy linux/pdeathsig -- brokerd

  # whatever this host can do, even nothing; says so if it is less than the tree
  contain run --best-effort -- brokerd

  # nohup: a job that is to live on when the shell that started it exits
  nohup contain run --die-with-parent=false -- crawl >crawl.log 2>&1 &

  # a command that becomes a daemon: contain lives until the daemon has ended
  contain run --on-exit=wait -- nginx

  # a container's entrypoint (Dockerfile); as PID 1 there is no timer unless --grace is given
  ENTRYPOINT ["contain", "run", "--"]
  CMD ["nginx", "-g", "daemon off;"]`

// newRun returns the run command. Its own work is done when CMD has ended and
// nothing is left of it.
func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:                   "run [FLAG]... [--] CMD [ARG]...",
		Short:                 "Run a command; nothing it starts outlives it",
		Long:                  runLong,
		Example:               runExample,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "no command to run; usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return run(f.config(), f.options(os.Getpid(), cmd.Flags().Changed("grace")), args)
		},
	}
	f.add(cmd)
	return cmd
}

// config is how the library is asked: this process is bound to its parent by
// RunOptions.DieWithParent, so the library is not to bind it too.
func (f *runFlags) config() containment.Config {
	cfg := containment.Config{
		Strategy:      f.strategy,
		Require:       f.require,
		BestEffort:    f.bestEffort,
		OutliveParent: true,
		Logger:        slog.New(slog.DiscardHandler),
	}
	if f.bestEffort {
		cfg.Logger = slog.New(&warnings{w: os.Stderr})
	}
	return cfg
}

// options returns what --grace and --die-with-parent ask for. The process 1 of a
// container is told to stop by a runtime that has a timer of its own, often a
// longer one; ours runs there only if it was asked for.
func (f *runFlags) options(pid int, graceGiven bool) registry.RunOptions {
	opts := registry.RunOptions{OnLeaderExit: registry.LeaderExit(f.onExit), Grace: f.grace, DieWithParent: f.dieWithParent}
	if pid == 1 && !graceGiven {
		opts.Grace = -1
	}
	return opts
}

// run runs one command to its end; the error carries its exit code.
func run(cfg containment.Config, opts registry.RunOptions, args []string) error {
	cmd, err := command(args)
	if err != nil {
		return err
	}
	result, err := containment.Run(context.Background(), cfg, cmd, opts)
	if err != nil {
		if cause := execFailure(err, cmd.Path); cause != nil {
			return cannotExecute(args[0], cause)
		}
		return err
	}
	dieOfInterrupt(result)
	return exitLike(result)
}

// exitLike returns the error that makes contain exit as its command did. On
// Windows os.Exit takes all 32 bits of a code.
func exitLike(r registry.RunResult) error {
	switch {
	case r.Signal > 0:
		return &exitError{code: exitSignalBase + r.Signal}
	case r.ExitCode < 0 && runtime.GOOS != "windows":
		return &exitError{code: exitFailure, err: errNoStatus}
	case r.ExitCode != 0:
		return &exitError{code: r.ExitCode}
	}
	return nil
}
