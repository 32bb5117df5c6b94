package command

import (
	"fmt"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

// labelWidth is the width of the first column of the details.
const labelWidth = len("guarantees") + len("    ")

// renderDetails shows everything that is known of each strategy.
func renderDetails(d description) string {
	var b strings.Builder
	for i, e := range d.Strategies {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeDetails(&b, e)
	}
	b.WriteString("\n" + legend + "\n" + moreLegend + "\n")
	return b.String()
}

func writeDetails(b *strings.Builder, e strategyEntry) {
	for _, line := range wrap(e.Name, tableWidth) {
		b.WriteString(line + "\n")
	}
	field(b, "summary", e.Summary)
	field(b, "platform", fmt.Sprintf("%s, rank %d", e.Platform, e.Rank))
	field(b, "here", e.status)
	if e.Unproved != "" {
		field(b, "unproved", e.Unproved)
	}
	field(b, "target", string(e.Target))
	field(b, "opt-in", map[bool]string{true: "yes: taken only if it is named or required", false: "no"}[e.OptIn])
	field(b, "guarantees", guaranteeLines(e.Guarantees)...)
	field(b, "requires", bullets(e.Requires)...)
	field(b, "limits", bullets(e.Limits)...)
	field(b, "supervisor", contractLines(e.Supervisor)...)
	if e.Probe != nil && e.Probe.SupervisorWay != "" {
		field(b, "begins", "by "+ways[e.Probe.SupervisorWay])
	}
}

// ways say how a supervisor begins.
var ways = map[string]string{
	"entry":      "entry: at the executable's first instruction, before the Go runtime",
	"first-init": "first-init: in the first init function; linked with the entry a start costs less, see the README",
}

// field writes a label and its values, each wrapped; a bullet's further lines
// are indented like its text. No values is "none".
func field(b *strings.Builder, label string, values ...string) {
	if len(values) == 0 {
		values = []string{"none"}
	}
	for _, v := range values {
		indent := ""
		if strings.HasPrefix(v, "- ") {
			indent = "  "
		}
		for i, line := range wrap(v, tableWidth-2-labelWidth-len(indent)) {
			if i > 0 {
				line = indent + line
			}
			b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s%s", labelWidth, label, line), " ") + "\n")
			label = ""
		}
	}
}

func guaranteeLines(gs []registry.Guarantee) []string {
	var lines []string
	d := registry.Description{Guarantees: gs}
	for _, event := range registry.Events() {
		if g, ok := d.Guarantee(event); ok {
			lines = append(lines, fmt.Sprintf("%s: %s gone within %v, by the %s", g.Event, g.Reach, g.Within, g.Enforcer))
		}
	}
	return lines
}

func bullets(texts []string) []string {
	var out []string
	for _, t := range texts {
		out = append(out, "- "+t)
	}
	return out
}

func contractLines(c *registry.SupervisorContract) []string {
	if c == nil {
		return nil
	}
	mechanism := "mechanism " + string(c.Mechanism)
	if c.FilterName() != "" {
		mechanism += " (" + c.FilterName() + ", " + c.NoteName() + ")"
	}
	return []string{
		mechanism + ", watches " + c.Watch,
		"barrier " + c.Barrier,
		"race guard " + c.RaceGuard,
		fmt.Sprintf("then %s, all gone within %v", c.SignalName(), c.KillDeadline),
	}
}
