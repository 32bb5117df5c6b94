package command

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/registry"
)

// runFlags are the flags of contain run.
type runFlags struct {
	strategy      string
	require       requirements
	bestEffort    bool
	grace         time.Duration
	dieWithParent bool
	onExit        onExit
	signal        firstSignal
	group         bool
	rewrite       rewrites
	exitMap       exitMap
	verbose       bool
	quiet         bool
	report        string

	fromEnv map[string]bool // names of flags that the environment has given
}

// add declares the flags. Those after CMD are CMD's own.
func (f *runFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.SortFlags = false
	flags.StringVar(&f.strategy, "strategy", "", "the one strategy to use, by `NAME` (contain describe)")
	flags.Var(&f.require, "require", "refuse to run CMD unless this is promised; repeatable")
	flags.BoolVar(&f.bestEffort, "best-effort", false, "take the strongest that works, even if it is nothing")
	flags.DurationVar(&f.grace, "grace", 0, "`TIME` from SIGTERM to the end by force (default: none)")
	flags.BoolVar(&f.dieWithParent, "die-with-parent", true, "end CMD in order when contain's parent ends")
	flags.Var(&f.onExit, "on-exit", "`kill|term|wait|leave` what CMD leaves behind")
	flags.Var(&f.signal, "signal", "what CMD gets for SIGTERM: `SIG`; force after --grace")
	flags.BoolVar(&f.group, "group", false, "pass signals on to CMD's process group")
	flags.Var(&f.rewrite, "rewrite", "pass signal FROM on as TO (TO=0: drop it); repeatable")
	flags.Var(&f.exitMap, "exit-map", "exit with TO where CMD's status gives FROM; repeatable")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "one line on standard error about what is in force")
	flags.BoolVar(&f.quiet, "quiet", false, "no warnings; only why contain itself failed")
	flags.StringVar(&f.report, "report", "", "when all is over, write how it ended to `FILE`, as JSON")
	_ = cmd.RegisterFlagCompletionFunc("signal", completeSignals)
	_ = cmd.RegisterFlagCompletionFunc("rewrite", completeRewrites)
	_ = cmd.RegisterFlagCompletionFunc("exit-map", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("strategy", completeNames)
	_ = cmd.RegisterFlagCompletionFunc("on-exit", cobra.FixedCompletions([]cobra.Completion{"kill", "term", "wait", "leave"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("require", completeRequirements)
}

// check finds what cannot be meant. An empty --strategy is most likely a
// variable that is not set, and the default may be weaker than what was wanted.
func (f *runFlags) check(cmd *cobra.Command) error {
	named := cmd.Flags().Changed("strategy")
	switch {
	case f.grace < 0:
		return usageError(cmd, "%s %v is negative; give a duration such as 0s, 5s or 1m", f.source("grace"), f.grace)
	case named && f.strategy == "":
		return usageError(cmd, "%s is empty; known: %s", f.source("strategy"), strings.Join(strategyNames(registry.Default()), ", "))
	case named && f.bestEffort:
		return usageError(cmd, "%s takes one strategy and no other, %s whichever works; give one of the two", f.source("strategy"), f.source("best-effort"))
	case f.verbose && f.quiet:
		return usageError(cmd, "%s and %s contradict each other; give one of the two", f.source("verbose"), f.source("quiet"))
	case cmd.Flags().Changed("report") && f.report == "":
		return usageError(cmd, "%s is empty; give a file", f.source("report"))
	}
	if err := f.foldSignal(cmd); err != nil {
		return err
	}
	if named {
		if _, err := registry.Default().Lookup(f.strategy); err != nil && f.fromEnv["strategy"] {
			return fmt.Errorf("%s: %w", f.source("strategy"), err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// foldSignal makes --signal the rule for SIGTERM that it is. A rule for it is
// there already if --rewrite has one: then what was given by flag wins over the
// environment.
func (f *runFlags) foldSignal(cmd *cobra.Command) error {
	if f.signal == 0 {
		return nil
	}
	if _, both := f.rewrite[syscall.SIGTERM]; both {
		switch byFlag := !f.fromEnv["signal"]; {
		case byFlag == !f.fromEnv["rewrite"]:
			return usageError(cmd, "%s and %s both say what CMD gets for SIGTERM; give one of the two", f.source("signal"), f.source("rewrite"))
		case !byFlag:
			return nil
		}
	}
	if f.rewrite == nil {
		f.rewrite = rewrites{}
	}
	f.rewrite[syscall.SIGTERM] = syscall.Signal(f.signal)
	return nil
}

// requirements is the value of the repeatable flag --require.
type requirements []registry.Requirement

// Set adds one requirement.
func (r *requirements) Set(s string) error {
	parsed, err := registry.ParseRequirement(s)
	if err == nil {
		*r = append(*r, parsed)
	}
	return err
}

// String lists the requirements.
func (r *requirements) String() string {
	var words []string
	for _, q := range *r {
		words = append(words, q.String())
	}
	return strings.Join(words, " ")
}

// Type is what the usage text calls the value.
func (r *requirements) Type() string { return "EVENT=REACH[/ENFORCER]" }

// onExit is the value of the flag --on-exit.
type onExit registry.LeaderExit

// Set reads kill, term, wait or leave.
func (o *onExit) Set(s string) error {
	for _, l := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitTerm, registry.LeaderExitWait, registry.LeaderExitLeave} {
		if s == l.String() {
			*o = onExit(l)
			return nil
		}
	}
	return errors.New("want kill, term, wait or leave")
}

// String returns what Set reads.
func (o *onExit) String() string { return registry.LeaderExit(*o).String() }

// Type is what the usage text calls the value.
func (o *onExit) Type() string { return "kill|term|wait|leave" }

var signalNames = []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH", "KILL"}

func completeSignals(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return signalNames, cobra.ShellCompDirectiveNoFileComp
}

// completeRewrites offers FROM= and, once that is there, what may follow.
func completeRewrites(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []cobra.Completion
	from, _, ok := strings.Cut(typed, "=")
	if ok {
		for _, to := range append([]string{"0"}, signalNames...) {
			all = append(all, from+"="+to)
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
	for _, name := range signalNames {
		if name != "KILL" { // cannot be caught
			all = append(all, name+"=")
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
