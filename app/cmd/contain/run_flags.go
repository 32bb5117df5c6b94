package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/registry"
)

var errNoStatus = errors.New("the command's exit status is not known")

// runFlags are the flags of contain run.
type runFlags struct {
	strategy      string
	require       requirements
	bestEffort    bool
	grace         time.Duration
	dieWithParent bool
	onExit        onExit
}

// add declares the flags. Those after CMD are CMD's own.
func (f *runFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.SortFlags = false
	flags.StringVar(&f.strategy, "strategy", "", "the one strategy to use, by `NAME` (contain describe)")
	flags.Var(&f.require, "require", "refuse to run CMD unless this is promised; repeatable")
	flags.BoolVar(&f.bestEffort, "best-effort", false, "take the strongest that works, even if it is nothing")
	flags.DurationVar(&f.grace, "grace", 5*time.Second, "`TIME` from SIGTERM to the end by force")
	flags.BoolVar(&f.dieWithParent, "die-with-parent", true, "end the tree when contain's parent ends")
	flags.Var(&f.onExit, "on-exit", "`kill|wait|leave` what CMD leaves behind")
	_ = cmd.RegisterFlagCompletionFunc("strategy", completeNames)
	_ = cmd.RegisterFlagCompletionFunc("on-exit", cobra.FixedCompletions([]cobra.Completion{"kill", "wait", "leave"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("require", completeRequirements)
}

// check finds what cannot be meant. An empty --strategy is most likely a
// variable that is not set, and the default may be weaker than what was wanted.
func (f *runFlags) check(cmd *cobra.Command) error {
	named := cmd.Flags().Changed("strategy")
	switch {
	case f.grace < 0:
		return usageError(cmd, "--grace %v is negative; give a duration such as 0s, 5s or 1m", f.grace)
	case named && f.strategy == "":
		return usageError(cmd, "--strategy is empty; known: %s", strings.Join(strategyNames(registry.Default()), ", "))
	case named && f.bestEffort:
		return usageError(cmd, "--strategy takes one strategy and no other, --best-effort whichever works; give one of the two")
	case named:
		_, err := registry.Default().Lookup(f.strategy)
		return err
	}
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

// Set reads kill, wait or leave.
func (o *onExit) Set(s string) error {
	for _, l := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitWait, registry.LeaderExitLeave} {
		if s == l.String() {
			*o = onExit(l)
			return nil
		}
	}
	return errors.New("want kill, wait or leave")
}

// String returns what Set reads.
func (o *onExit) String() string { return registry.LeaderExit(*o).String() }

// Type is what the usage text calls the value.
func (o *onExit) Type() string { return "kill|wait|leave" }
