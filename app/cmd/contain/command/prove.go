package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
)

const proveLong = `Show on this machine that each strategy keeps what it declares. For every
guarantee of every strategy that works here, contain starts decoy owners and
trees of processes, lets the event happen and counts the survivors. Each drill
has a control: the same tree without containment must survive, or the drill
proves nothing and fails. What is gone late is told from what has survived, and a
host that is too busy to be in time is given the time that it takes itself to
start the same tree. Only processes that prove itself has started are touched.
A row is shown as soon as its drills are done; the reasons of every failed, slow and
skipped drill follow the table.

Exit code:
  0    everything that is declared and can work here was proved
  1    something was not; the rows are named
  125  prove itself failed, or was interrupted: what was proved by then is shown,
       and nothing is left behind`

const proveExample = `  contain prove --quick
  contain prove linux/subreaper
  contain prove -o json | jq .proved`

// newProve returns the prove command.
func newProve() *cobra.Command {
	var output string
	var quick bool
	cmd := &cobra.Command{
		Use:               "prove [NAME]...",
		Short:             "Prove the strategies' guarantees on this machine, by killing real processes",
		Long:              proveLong,
		Example:           proveExample,
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			if output != "table" && output != "json" {
				return usageError(cmd, "unknown output format %q; known: table, json", output)
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, hangUp)
			defer stop()
			p := prover{quick: quick, progress: progressTo(cmd.ErrOrStderr()), out: io.Discard}
			if output == "table" {
				p.out = cmd.OutOrStdout()
			}
			proof, err := p.prove(ctx, registry.Default(), names)
			if err != nil {
				return err
			}
			text, err := proof.rest(output)
			if err == nil {
				err = write(cmd.OutOrStdout(), text)
			}
			switch {
			case err != nil:
				return err
			case proof.Interrupted:
				return errors.New("prove was interrupted; nothing is left of it")
			case !proof.Proved:
				return &launch.ExitError{Code: 1, Err: errors.New("not proved: " + strings.Join(proof.failing(), ", "))}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	cmd.Flags().BoolVar(&quick, "quick", false, "one mixed tree for each event, in a few seconds")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// hangUp is SIGHUP, which some systems' package syscall does not name.
const hangUp = syscall.Signal(1)

// proof is what prove found. It is the JSON form, too.
type proof struct {
	Schema   int               `json:"schema"`
	Platform registry.Platform `json:"platform"`
	Quick    bool              `json:"quick"`
	// Load is the largest number of processes that were alive at once.
	Load   int  `json:"load"`
	Proved bool `json:"proved"`
	// Interrupted: the drills that were left have not been held.
	Interrupted bool       `json:"interrupted"`
	Rows        []proofRow `json:"rows"`
	Unusable    []unusable `json:"unusable"`
	// Unproved names those of which that is said in their description.
	Unproved []string `json:"unproved,omitempty"`
}

// reports is where an outcome of interest to the authors goes.
const reports = "https://github.com/seed329817d7/contain/issues"

// proofRow is one event of one strategy.
type proofRow struct {
	Strategy string            `json:"strategy"`
	Event    registry.Event    `json:"event"`
	Reach    registry.Reach    `json:"reach"`
	Enforcer registry.Enforcer `json:"enforcer"` // "" for what follows from what is declared
	Within   string            `json:"within"`
	Proved   bool              `json:"proved"`
	Drills   int               `json:"drills"`
	// Skipped counts the drills that could not be held; they are no passes.
	Skipped int `json:"skipped"`
	// Slow counts the drills after which nothing was left, but too late.
	Slow      int    `json:"slow"`
	Survivors int    `json:"survivors"`
	Median    string `json:"median"`
	Worst     string `json:"worst"`
	// Failures has the reason of every drill that failed or was slow, Skips of every
	// one that was skipped, and Late what was late because the host was.
	Failures []string `json:"failures"`
	Skips    []string `json:"skips"`
	Late     []string `json:"late"`

	took []time.Duration
	done bool
}

// unusable is a strategy that does not work here.
type unusable struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	named  bool
}

// prover holds the drills.
type prover struct {
	quick    bool
	progress func(format string, a ...any)
	out      io.Writer // of rows, as each is done
}

func (p *prover) prove(ctx context.Context, reg *registry.Registry, names []string) (*proof, error) {
	lab, err := drill.NewLab(drill.Options{Quick: p.quick})
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	out := &proof{Schema: 1, Platform: registry.CurrentPlatform(), Quick: p.quick, Load: lab.Load(), Proved: true,
		Rows: []proofRow{}, Unusable: []unusable{}}
	chosen, err := out.choose(ctx, reg, names)
	if err != nil {
		return nil, err
	}
	p.progress("up to %d processes of contain's own at a time", out.Load)
	if len(chosen) > 0 {
		if err := p.show(proofHeader()); err != nil {
			return nil, err
		}
	}
	for _, d := range chosen {
		plan := drill.Plan(d, drill.Options{Quick: p.quick})
		for n, experiment := range plan {
			p.progress("%s %d/%d %s", d.Name, n+1, len(plan), experiment)
			r, applies := lab.Run(ctx, experiment)
			if ctx.Err() != nil {
				out.Interrupted = true
				return out, p.finish(out)
			}
			if applies {
				out.enter(r)
			}
			if n+1 < len(plan) && plan[n+1].Event == experiment.Event {
				continue
			}
			if err := p.finish(out); err != nil {
				return nil, err
			}
		}
	}
	p.progress("")
	for _, u := range out.Unusable {
		out.Proved = out.Proved && !u.named
	}
	return out, nil
}

// finish concludes and shows the rows whose drills are done: one, or none.
func (p *prover) finish(o *proof) error {
	for i := range o.Rows {
		w := &o.Rows[i]
		if w.done {
			continue
		}
		w.conclude(o.Interrupted)
		o.Proved = o.Proved && w.Proved
		if err := p.show(w.String()); err != nil {
			return err
		}
	}
	o.Proved = o.Proved && !o.Interrupted
	return nil
}

// show writes a line of the table, in place of the progress.
func (p *prover) show(line string) error {
	p.progress("")
	return write(p.out, line)
}

// choose returns the strategies to drill: those named, or all of this platform
// that declare anything, as far as they work here.
func (o *proof) choose(ctx context.Context, reg *registry.Registry, names []string) ([]registry.Description, error) {
	for _, name := range names {
		if _, err := reg.Lookup(name); err != nil {
			return nil, err
		}
	}
	var chosen []registry.Description
	for _, s := range reg.All() {
		d := s.Describe()
		named := slices.Contains(names, d.Name)
		if !named && (len(names) > 0 || len(d.Guarantees) == 0 || !d.Platform.Includes(o.Platform)) {
			continue
		}
		if err := registry.Probe(ctx, s); err != nil {
			o.Unusable = append(o.Unusable, unusable{d.Name, registry.Skip{Name: d.Name, Err: err}.Reason(), named})
			continue
		}
		chosen = append(chosen, d)
		if d.Unproved != "" {
			o.Unproved = append(o.Unproved, d.Name)
		}
	}
	return chosen, nil
}

// enter adds one drill's result to its row.
func (o *proof) enter(r drill.Result) {
	i := slices.IndexFunc(o.Rows, func(w proofRow) bool { return w.Strategy == r.Strategy && w.Event == r.Event })
	if i < 0 {
		i = len(o.Rows)
		o.Rows = append(o.Rows, proofRow{Strategy: r.Strategy, Event: r.Event, Reach: r.Reach, Enforcer: r.Enforcer,
			Within: r.Within.String(), Failures: []string{}, Skips: []string{}, Late: []string{}})
	}
	w := &o.Rows[i]
	w.Drills++
	w.Survivors += len(r.Survivors)
	why := func(what string) string { return fmt.Sprintf("%s: %s", r.Drill, what) }
	switch {
	case errors.Is(r.Err, drill.ErrSkipped):
		w.Skipped++
		w.Skips = append(w.Skips, why(r.Err.Error()))
	case r.Err != nil:
		if errors.Is(r.Err, drill.ErrSlow) {
			w.Slow++
		}
		w.Failures = append(w.Failures, why(r.Err.Error()))
	default:
		w.took = append(w.took, r.Took)
		if r.Late {
			w.Late = append(w.Late, why(r.Note))
		}
	}
}

// conclude decides whether the row was proved. One of which every drill was skipped is not.
func (w *proofRow) conclude(interrupted bool) {
	w.done = true
	w.Proved = len(w.took) > 0 && len(w.Failures) == 0 && !interrupted
	if interrupted {
		w.Skips = append(w.Skips, "prove was interrupted before all of its drills were held")
	}
	if len(w.took) > 0 {
		slices.Sort(w.took)
		w.Median, w.Worst = short(w.took[len(w.took)/2]), short(w.took[len(w.took)-1])
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// failing names what was not proved.
func (o *proof) failing() []string {
	var names []string
	for _, w := range o.Rows {
		if !w.Proved {
			names = append(names, w.Strategy+" "+string(w.Event))
		}
	}
	for _, u := range o.Unusable {
		if u.named {
			names = append(names, u.Name+" (does not work here)")
		}
	}
	return names
}

const proofForm = "%-16s %-18s %-16s %-7s %6s %7s %4s %9s %9s\n"

func proofHeader() string {
	return fmt.Sprintf(proofForm, "STRATEGY", "EVENT", "DECLARED", "PROVED", "DRILLS", "SKIPPED", "LEFT", "MEDIAN", "WORST")
}

// String returns the row as a line of the table.
func (w *proofRow) String() string {
	declared := string(w.Reach) + "/" + string(w.Enforcer)
	if w.Enforcer == "" {
		declared = string(w.Reach)
	}
	proved := "yes"
	if !w.Proved {
		proved = "NO"
	}
	return fmt.Sprintf(proofForm, w.Strategy, w.Event, declared, proved, fmt.Sprint(w.Drills), fmt.Sprint(w.Skipped), fmt.Sprint(w.Survivors), w.Median, w.Worst)
}

// rest returns what is to be shown when all is done: the JSON, or what follows
// the rows of the table.
func (o *proof) rest(format string) (string, error) {
	if format == "json" {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err := enc.Encode(o)
		return b.String(), err
	}
	var b strings.Builder
	for _, w := range o.Rows {
		for _, reasons := range [][]string{w.Failures, w.Skips, w.Late} {
			for _, r := range reasons {
				writeWrapped(&b, w.Strategy+" "+r)
			}
		}
	}
	for _, u := range o.Unusable {
		writeWrapped(&b, u.Name+" does not work here: "+u.Reason)
	}
	for _, name := range o.Unproved {
		writeWrapped(&b, name+" had not been run on this system by its authors. Whether it is proved here or not, tell them: contain prove -o json "+name+", and contain version, to "+reports)
	}
	return b.String(), nil
}

func writeWrapped(b *strings.Builder, s string) {
	for i, line := range wrap(s, 96) {
		b.WriteString([]string{"", "  "}[min(i, 1)] + line + "\n")
	}
}

// progressTo returns what shows how far prove is: on a terminal a line that is
// overwritten, elsewhere nothing.
func progressTo(w io.Writer) func(string, ...any) {
	f, ok := w.(*os.File)
	if info, err := os.Stderr.Stat(); !ok || err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(string, ...any) {}
	}
	return func(format string, a ...any) {
		line := []rune(fmt.Sprintf(format, a...))
		fmt.Fprintf(f, "\r\x1b[K%s", string(line[:min(len(line), 79)]))
	}
}
