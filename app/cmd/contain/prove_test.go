package main

import (
	"strings"
	"testing"
)

// TestProveAsksForReports: whoever runs for the first time what nobody has run is told
// where to say how it went.
func TestProveAsksForReports(t *testing.T) {
	for want, o := range map[bool]proof{true: {Unproved: []string{"any/thing"}}, false: {}} {
		text, err := o.render("table")
		if err != nil || strings.Contains(strings.ReplaceAll(text, "\n  ", " "), "prove -o json any/thing, and contain version, to "+reports) != want {
			t.Errorf("unproved %v: %v\n%s", o.Unproved, err, text)
		}
	}
}
