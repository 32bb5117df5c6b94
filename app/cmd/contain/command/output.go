package command

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// write writes s in one go, so that it fits into a pipe whose reader leaves
// early. Where it does not, SIGPIPE ends contain silently, as it does other tools.
func write(w io.Writer, s string) error {
	if _, err := io.WriteString(w, s); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// noArgs is cobra.NoArgs with contain's wording.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, "%s takes no argument, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
