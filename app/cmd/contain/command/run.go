package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
)

const runLong = `Run CMD so that nothing it starts outlives it: not when CMD exits, not when
contain is killed with SIGKILL, not the grandchild, not the daemon.

CMD gets contain's standard streams, environment and directory. Signals sent to
contain are passed on to CMD. With --grace, SIGTERM also starts a timer, after which
what is left is ended by force; without, CMD may take as long as it likes. When
contain's parent ends, CMD gets SIGTERM, and --grace, or 5 seconds, later what is
left is ended by force; --die-with-parent=false lets it live on. When CMD exits, what
it left behind is ended too (--on-exit=kill); with --on-exit=term it gets SIGTERM and
--grace, or 5 seconds, first; with wait contain waits for it, with leave lets it go.

Without --strategy, --require or --best-effort the strongest strategy that works
here is taken, and contain refuses to run CMD if it would not end the whole tree
when contain is killed (owner-killed=tree). contain describe lists the strategies.

SIGTERM is passed on as the --signal, if there is one, and starts the timer of --grace
all the same. --rewrite changes any signal that contain receives; TERM=0 swallows it,
timer and all. Neither changes a terminal's ^C, which the terminal sends to CMD itself.
A signal is a name, with or without SIG, or a number.

Every flag may also be given by the environment, as CONTAIN_ and its name:
CONTAIN_GRACE=30s, CONTAIN_DIE_WITH_PARENT=false; lists are separated by commas
or spaces. A flag that is given wins. CMD does not inherit these variables.

Exit code (--exit-map changes what comes of CMD's status, not contain's own 125-127):
  CMD's   CMD exited
  128+n   CMD died of signal n; of the terminal's ^C contain then dies itself, so
          that a shell's loop around it ends
  127     CMD was not found
  126     CMD was found but cannot be executed
  125     contain itself failed: a flag is wrong, no strategy qualifies, or contain
          could not end what it had to`

const runExample = `  # a service
  contain run -- brokerd --listen :8080

  # give it 30 seconds after SIGTERM, then end it by force
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

  # QUIT in place of TERM first, as docker's STOPSIGNAL; 10 seconds later by force
  contain run --signal QUIT --grace 10s -- nginx -g 'daemon off;'

  # signals for a shell's children, too, as tini -g
  contain run --group -- bash -c 'trap "echo bye" TERM; sleep 60'

  # HUP reloads as USR1, and what comes as INT is not passed on
  contain run --rewrite HUP=USR1 --rewrite INT=0 -- brokerd

  # to die of the SIGTERM that asked for it is a success
  contain run --exit-map 143=0 -- sleep 1000

  # say on standard error which strategy is in force, and why no better one
  contain run -v -- brokerd

  # whatever works, without the warning
  contain run --best-effort --quiet -- brokerd

  # how it ended and who had to be killed, as JSON
  contain run --report run.json -- make test

  # flags from the environment
  CONTAIN_REQUIRE=owner-killed=tree,leader-exit=tree CONTAIN_VERBOSE=1 contain run -- brokerd

  # a container's entrypoint (Dockerfile)
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
			if err := f.takeEnvironment(cmd); err != nil {
				return err
			}
			if err := f.check(cmd); err != nil {
				return err
			}
			if err := launch.EnoughFiles(); err != nil {
				return err
			}
			return f.run(args, cmd.Flags().Changed("grace"), cmd.Flags().Changed("die-with-parent"))
		},
	}
	f.add(cmd)
	return cmd
}

// defaults is how a command is run if no flag is given.
func defaults() containment.RunOptions {
	return containment.RunOptions{
		Logger:     slog.New(slog.DiscardHandler),
		RunOptions: registry.RunOptions{Grace: plain.NoGrace, DieWithParent: true},
	}
}

// asked is what the flags ask for, over the defaults.
func (f *runFlags) asked(graceGiven bool) containment.RunOptions {
	opts := defaults()
	opts.Strategy, opts.Require, opts.BestEffort = f.strategy, f.require, f.bestEffort
	if !f.quiet && (f.bestEffort || f.verbose) {
		opts.Logger = slog.New(&warnings{w: os.Stderr, verbose: f.verbose})
	}
	opts.OnLeaderExit = registry.LeaderExit(f.onExit)
	opts.DieWithParent, opts.ToGroup, opts.Rewrite = f.dieWithParent, f.group, f.rewrite
	if graceGiven {
		opts.Grace = f.grace
	}
	return opts
}

// run runs one command to its end and reports on it; the error carries the exit code.
func (f *runFlags) run(args []string, graceGiven, parentGiven bool) error {
	var file *reportFile
	if f.report != "" {
		var err error
		if file, err = openReport(f.source("report"), f.report); err != nil {
			return err
		}
	}
	began := time.Now()
	opts := f.asked(graceGiven)
	var killed killedList
	if file != nil {
		opts.OnForced = killed.add
	}
	result, err := runCommand(opts, args)
	if errors.Is(err, containment.ErrParentNotWatched) && !parentGiven {
		// Nothing has run. That the parent is watched was not asked for.
		if !f.quiet {
			fmt.Fprintln(os.Stderr, "contain: warning: not bound to its parent:", launch.OneLine(err))
		}
		opts.DieWithParent = false
		result, err = runCommand(opts, args)
	}
	final, mapped := err, false
	if err == nil {
		final, mapped = f.exitMap.apply(launch.ExitLike(result))
	}
	if file != nil {
		if err := file.write(newRunReport(args, began, result, killed, err, final)); err != nil {
			return err
		}
	}
	if err == nil && !mapped {
		plain.DieOfInterrupt(result.Signal)
	}
	return final
}

// runCommand runs one command to its end. The error carries an exit code, if the
// command could not be executed.
func runCommand(opts containment.RunOptions, args []string) (registry.RunResult, error) {
	cmd, err := launch.Command(args)
	if err != nil {
		return registry.RunResult{}, err
	}
	result, err := containment.Run(context.Background(), cmd, opts)
	if script := launch.AsScript(cmd, err); script != nil {
		result, err = containment.Run(context.Background(), script, opts)
		return result, launch.Explain(script, err)
	}
	return result, explainProc(launch.Explain(cmd, err))
}

// apply replaces the exit code of a command that has ended.
func (m exitMap) apply(end error) (error, bool) {
	to, mapped := m[launch.ExitCode(end)]
	switch {
	case !mapped || errors.Is(end, launch.ErrNoStatus):
		return end, false
	case to == 0:
		return nil, true
	}
	return &launch.ExitError{Code: to}, true
}
