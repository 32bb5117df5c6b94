// While a command runs contain has nothing to compute, so it need not follow
// changes of its CPU limit, as Go programs do once a second.
//
//go:debug updatemaxprocs=0

// Command contain runs a command so that nothing it starts outlives it, and
// says what each containment strategy promises on each platform.
//
// See contain --help, and contain run --help for the exit codes.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/registry/registrytest/drill"

	// Every built-in strategy registers itself.
	_ "github.com/seed329817d7/contain/strategies/all"
)

// The exit codes of contain itself, as those of nohup, env and timeout (POSIX,
// "Exit Status" of env; GNU coreutils manual, "timeout invocation").
const (
	exitFailure       = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignalBase    = 128
)

func main() {
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
	return report(os.Stderr, root.Execute())
}

// addCommands adds the whole command tree.
func addCommands(root *cobra.Command) {
	root.AddCommand(newRun(), newDescribe(), newProve(), newPs(), newStop(), newVersion())
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

// exitError ends contain with code; without an error it prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the command line of cmd.
func usageError(cmd *cobra.Command, format string, a ...any) error {
	return fmt.Errorf("%s; see %s --help", fmt.Sprintf(format, a...), cmd.CommandPath())
}

// report prints err on one line and returns the exit code that it stands for.
func report(stderr io.Writer, err error) int {
	var exit *exitError
	switch {
	case err == nil:
	case !errors.As(err, &exit):
		fmt.Fprintln(stderr, "contain:", oneLine(err))
	case exit.err != nil:
		fmt.Fprintln(stderr, "contain:", oneLine(exit.err))
	}
	return exitCode(err)
}

// exitCode returns the exit code that err stands for.
func exitCode(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	}
	return exitFailure
}

// oneLine is the text of err on one line, without the "contain: " that the
// library's errors begin with.
func oneLine(err error) string {
	s := strings.TrimPrefix(strings.TrimSpace(err.Error()), "contain: ")
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
