package command

import (
	"strings"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/spf13/cobra"
)

const rootLong = `contain keeps a process tree from outliving its owner: nothing that a command
starts is left when it ends, is killed, or when contain itself is killed.

What is promised depends on the platform's strategy: contain describe shows it,
with what it does not cover. contain is not a sandbox.`

const rootExample = `  # a service: when brokerd ends, or contain is killed, all it started is gone
  contain run -- brokerd --listen :8080

  # a required guarantee: refuse to start (exit 125) unless it is declared
  contain run --require supervisor-killed=tree -- make -j8 test

  # nohup: live on when the shell that started contain exits
  nohup contain run --die-with-parent=false -- crawl >crawl.log 2>&1 &

  # a container's entrypoint (Dockerfile)
  ENTRYPOINT ["contain", "run", "--"]
  CMD ["nginx", "-g", "daemon off;"]

  # which strategy is chosen here, and why no better one
  contain describe

  # proof, on this machine, that it does what it says
  contain prove --quick`

// newRoot returns the command without subcommands.
func newRoot() *cobra.Command {
	// On Windows cobra looks at every process of the system at each start, to
	// find whether Explorer started it; an empty text turns that off.
	cobra.MousetrapHelpText = ""
	root := &cobra.Command{
		Use:                   "contain",
		Short:                 "Keep a process tree from outliving its owner",
		Long:                  rootLong,
		Example:               rootExample,
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		// Else cobra takes the flags of a command in front of its name too.
		TraverseChildren: true,
		Args:             cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(cmd, "unknown command %q; known: %s", args[0], strings.Join(commandNames(cmd), ", "))
			}
			cmd.SetOut(cmd.ErrOrStderr())
			_ = cmd.Help()
			return &launch.ExitError{Code: launch.ExitFailure}
		},
	}
	root.Flags().SetInterspersed(false)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	return root
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// newHelp replaces cobra's help command, which succeeds for an unknown topic.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError(cmd.Root(), "no help for %q", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}
