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
  contain ps --tree --watch
  contain ps -o json | jq -r '.containments[].id'`

// psFlags are the flags of contain ps.
type psFlags struct {
	output string
	tree   bool
	watch  bool
}

// newPs returns the ps command.
func newPs() *cobra.Command {
	var f psFlags
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the containments that are alive on this host",
		Long: `List the containments alive on this host that the caller may see: each backend of
a service, and each contain run, but for those under linux/pdeathsig and noop/noop,
of which nothing can be seen from outside. On a system other than Linux and Windows it fails (exit 125).

With --tree it shows every process of each, below the process that owns it, with its
age and its resident memory. With --watch it shows that until you press Ctrl-C.`,
		Example: psExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			if f.watch {
				return watch(cmd.Context(), f.text)
			}
			text, err := f.text()
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), text)
		},
	}
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "`FORMAT`: table or json")
	cmd.Flags().BoolVar(&f.tree, "tree", false, "show the processes of each containment, below their owner")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "show it again every two seconds, on a terminal")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *psFlags) check(cmd *cobra.Command) error {
	switch {
	case f.output != "table" && f.output != "json":
		return usageError(cmd, "unknown output format %q; known: table, json", f.output)
	case f.watch && f.output != "table":
		return usageError(cmd, "--watch shows a table, and --output asks for %s; give one of the two", f.output)
	case f.watch && !isTerminal(cmd.OutOrStdout()):
		return usageError(cmd, "--watch needs a terminal as its output; without one, call contain ps again and again")
	}
	return nil
}

// text is what is to be shown now.
func (f *psFlags) text() (string, error) {
	found, err := inventory.List()
	if err != nil {
		return "", err
	}
	rows := make([]psRow, 0, len(found))
	now := time.Now().UTC()
	for _, c := range found {
		row := newRow(c, now)
		if f.tree {
			members, err := c.Members()
			if err != nil {
				return "", err
			}
			if len(members) == 0 { // it has ended meanwhile
				continue
			}
			row.addMembers(members)
		}
		rows = append(rows, row)
	}
	switch {
	case f.output == "json":
		return psJSON(rows)
	case f.tree:
		return psTree(rows)
	}
	return psTable(rows)
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
	Members   []psMember        `json:"members,omitempty"`
}

// psMember is the JSON form of a process, with --tree.
type psMember struct {
	inventory.Process
	Parent  int    `json:"parent"`
	Seconds int64  `json:"ageSeconds"`
	Memory  uint64 `json:"memoryBytes"`
}

func newRow(c inventory.Containment, now time.Time) psRow {
	age := c.Age.Truncate(time.Second)
	return psRow{
		ID: c.ID, Strategy: c.Strategy, Owner: c.Owner, Leader: c.Leader, Processes: c.Processes,
		Started: now.Add(-c.Age).Truncate(time.Second), Age: age.String(), Seconds: int64(age / time.Second),
	}
}

// addMembers adds the processes, of which there may be others by now than were counted.
func (r *psRow) addMembers(members []inventory.Member) {
	r.Processes = len(members)
	for _, m := range members {
		r.Members = append(r.Members, psMember{m.Process, m.Parent, int64(m.Age / time.Second), m.Memory})
	}
}

func psJSON(rows []psRow) (string, error) {
	b, err := json.MarshalIndent(struct {
		Schema       int     `json:"schema"`
		Containments []psRow `json:"containments"`
	}{1, rows}, "", "  ")
	return string(b) + "\n", err
}

func psTable(rows []psRow) (string, error) {
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
