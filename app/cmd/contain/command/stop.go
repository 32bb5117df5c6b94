package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/strategies/inventory"
)

// newStop returns the stop command.
func newStop() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "stop ID",
		Short: "End one containment",
		Long: `End one containment of contain ps: SIGTERM, after the grace period by force, and
wait until nothing of it is left. The owner's other backends live on. On Windows it
is ended at once by force: a process of another console cannot be asked.

Exit code:
  0    it is gone
  1    something is left
  125  stop itself failed: an unknown ID, or no permission`,
		Example: `  contain stop 4242-1f3x
  contain stop --grace 30s 4242-1f3x`,
		ValidArgsFunction: completeIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name one ID of contain ps")
			}
			if grace < 0 {
				return usageError(cmd, "--grace %s is negative", grace)
			}
			ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, hangUp)
			defer cancel()
			return stopID(ctx, args[0], grace)
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 5*time.Second, "`DURATION` from SIGTERM to the end by force")
	return cmd
}

func stopID(ctx context.Context, id string, grace time.Duration) error {
	found, err := inventory.List()
	if err != nil {
		return err
	}
	for _, c := range found {
		if c.ID != id {
			continue
		}
		left, err := inventory.Stop(ctx, c, grace)
		if err == nil && left > 0 {
			return &launch.ExitError{Code: 1, Err: fmt.Errorf("stop %s: %d processes are left after the use of force", id, left)}
		}
		return err
	}
	return fmt.Errorf("no containment %q that you may see: it has ended, or belongs to another user; contain ps lists them", id)
}

// completeIDs offers the IDs of contain ps.
func completeIDs(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var ids []cobra.Completion
	if found, err := inventory.List(); err == nil && len(args) == 0 {
		for _, c := range found {
			ids = append(ids, cobra.CompletionWithDesc(c.ID, c.Strategy+" "+printable(c.Leader.Name)))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
