package command

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed329817d7/contain/registry"
)

// tableWidth is what every line of the table and of the details fits into.
const tableWidth = 100

// nameWidth bounds the first column, so that a long name leaves room for the rest.
const nameWidth = 24

const (
	legend     = "owner: the service, or contain run. child: a command's first process. tree: it and all below it."
	moreLegend = "target: what is to bind the owner's own process. #: rank on its platform."
	more       = "contain describe NAME shows what a strategy requires, its limits and its supervisor's contract."
)

// row is one line of columns.
type row struct{ name, rank, status, event, gone, within string }

// renderTable shows each strategy in a few lines: name, rank and status on the
// left, one guarantee a line on the right.
func renderTable(d description) string {
	width := statusWidth(d.Strategies)
	rows := []row{{"STRATEGY", "#", "HERE", "AFTER", "GONE/BY", "WITHIN"}}
	for i, e := range d.Strategies {
		if i > 0 {
			rows = append(rows, row{})
		}
		rows = append(rows, cells(e, width)...)
	}
	var b strings.Builder
	b.WriteString(strings.Join(wrap(headline(d), tableWidth), "\n") + "\n")
	if d.Enclosing != nil {
		b.WriteString(strings.Join(wrap(d.Enclosing.String(), tableWidth), "\n") + "\n")
	}
	b.WriteString(legend + "\n" + moreLegend + "\n\n")
	writeRows(&b, rows)
	b.WriteString("\n" + more + "\n")
	return b.String()
}

// headline says which strategy is chosen here.
func headline(d description) string {
	if d.Active == "" {
		return fmt.Sprintf("Nothing is chosen here (%s) by default: no strategy gives %v. contain run refuses to run "+
			"a command unless less is asked for.", d.Platform, registry.DefaultRequirement())
	}
	return fmt.Sprintf("Chosen here (%s) by default: %s.", d.Platform, d.Active)
}

// statusWidth is what the other columns and the gaps between them leave. The
// words of guarantees are few; only names and times may be long.
func statusWidth(entries []strategyEntry) int {
	name, within := len("STRATEGY"), len("WITHIN")
	for _, e := range entries {
		name = max(name, min(utf8.RuneCountInString(e.Name), nameWidth))
		for _, g := range e.Guarantees {
			within = max(within, len(g.Within.String()))
		}
	}
	const others = len("99") + len("supervisor-killed") + len("tree/supervisor") + 5*len("  ")
	return tableWidth - name - within - others
}

// cells lays one strategy out.
func cells(e strategyEntry, statusWidth int) []row {
	left := wrap(e.status, statusWidth)
	if e.Unproved != "" {
		left = append(left, wrap("unproved: "+e.Unproved, statusWidth)...)
	}
	left = append(left, wrap("target: "+string(e.Target), statusWidth)...)
	names := wrap(e.Name, nameWidth)
	guarantees := guaranteeRows(e.Guarantees)
	rows := make([]row, max(len(left), len(names), len(guarantees)))
	copy(rows, guarantees)
	for i, s := range left {
		rows[i].status = s
	}
	for i, s := range names {
		rows[i].name = s
	}
	rows[0].rank = fmt.Sprint(e.Rank)
	return rows
}

// guaranteeRows fills the right-hand columns, in the order in which events rank.
func guaranteeRows(gs []registry.Guarantee) []row {
	var rows []row
	d := registry.Description{Guarantees: gs}
	for _, event := range registry.Events() {
		if g, ok := d.Guarantee(event); ok {
			rows = append(rows, row{event: string(g.Event), gone: fmt.Sprintf("%s/%s", g.Reach, g.Enforcer), within: g.Within.String()})
		}
	}
	if len(rows) == 0 {
		return []row{{event: "(no guarantee)"}}
	}
	return rows
}

// writeRows aligns the columns, two spaces apart, without trailing spaces.
func writeRows(b *strings.Builder, rows []row) {
	var widths [6]int
	for _, r := range rows {
		for i, c := range r.columns() {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, c := range r.columns() {
			line.WriteString(c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func (r row) columns() [6]string {
	return [6]string{r.name, r.rank, r.status, r.event, r.gone, r.within}
}
