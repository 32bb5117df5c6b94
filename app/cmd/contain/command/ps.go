package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/strategies/inventory"
)

const psExample = `  contain ps
  contain ps -o json | jq -r '.containments[].id'`

// newPs returns the ps command.
func newPs() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the containments that are alive on this host",
		Long: `List the containments alive on this host that the caller may see: each backend of
a service, and each contain run, but for those under linux/pdeathsig and noop/noop,
of which nothing can be seen from outside. On a system other than Linux and Windows it fails (exit 125).`,
		Example: psExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError(cmd, "unknown output format %q; known: table, json", output)
			}
			found, err := inventory.List()
			if err != nil {
				return err
			}
			text, err := renderPs(found, output)
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), text)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// psRow is the JSON form of a containment.
type psRow struct {
	ID        string            `json:"id"`
	Strategy  string            `json:"strategy"`
	Owner     inventory.Process `json:"owner"`
	Leader    inventory.Process `json:"leader"`
	Processes int               `json:"processes"`
	Started   time.Time         `json:"started"`
	Age       string            `json:"age"`        // for people
	Seconds   int64             `json:"ageSeconds"` // the same
}

func renderPs(found []inventory.Containment, output string) (string, error) {
	rows, now := make([]psRow, 0, len(found)), time.Now().UTC()
	for _, c := range found {
		age := c.Age.Truncate(time.Second)
		rows = append(rows, psRow{c.ID, c.Strategy, c.Owner, c.Leader, c.Processes, now.Add(-c.Age).Truncate(time.Second), age.String(), int64(age / time.Second)})
	}
	if output == "json" {
		b, err := json.MarshalIndent(struct {
			Schema       int     `json:"schema"`
			Containments []psRow `json:"containments"`
		}{1, rows}, "", "  ")
		return string(b) + "\n", err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTRATEGY\tOWNER\tLEADER\tPROCESSES\tAGE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", r.ID, r.Strategy, named(r.Owner), named(r.Leader), r.Processes, r.Age)
	}
	err := w.Flush()
	return b.String(), err
}

// named is a process for people. A process chooses its own name, so control
// characters, which could write to the terminal, are replaced.
func named(p inventory.Process) string {
	return fmt.Sprintf("%d (%s)", p.PID, printable(p.Name))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
