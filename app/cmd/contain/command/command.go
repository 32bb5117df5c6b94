// Package command is the contain command, for a main of one's own.
//
// It knows the strategies that are registered: one that imports its own strategy beside
// strategies/all, or in place of it, gets describe, prove and run with it.
//
//	package main
//
//	import (
//		"github.com/seed329817d7/contain/app/cmd/contain/command"
//		_ "example.com/mystrategy"
//		_ "github.com/seed329817d7/contain/strategies/all"
//	)
//
//	func main() { command.Main() }
package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
)

// Main is all that a main does: it runs the command line in os.Args and exits with
// its code. Call it first, for prove starts the executable again, and such a process must
// do nothing of its own.
func Main() {
	drill.Main() // prove starts this executable again, as its decoys
	os.Exit(execute(os.Args[1:]))
}

// execute runs the command line and returns the exit code.
func execute(args []string) int {
	root := newRoot()
	if len(args) > 0 && args[0] == "run" {
		// What runs most often, and must start fast, builds nothing else.
		root.AddCommand(newRun())
		root.CompletionOptions.DisableDefaultCmd = true
	} else {
		addCommands(root)
	}
	root.SetArgs(args)
	return launch.Report(os.Stderr, root.Execute())
}

// addCommands adds the whole command tree.
func addCommands(root *cobra.Command) {
	root.AddCommand(newRun(), newDescribe(), newProve(), newPs(), newStop(), newVersion(), newGendocs())
	root.SetHelpCommand(newHelp())
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		// cobra answers an unknown or missing shell with help and success.
		completion.Args = cobra.ArbitraryArgs
		completion.RunE = func(*cobra.Command, []string) error {
			return usageError(completion, "name a shell: bash, fish, powershell or zsh")
		}
	}
}

// usageError is a mistake in the command line of cmd.
func usageError(cmd *cobra.Command, format string, a ...any) error {
	return fmt.Errorf("%s; see %s --help", fmt.Sprintf(format, a...), cmd.CommandPath())
}
