package command

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
)

// TestProveReasons: whatever was not proved has its reason below the table and
// in the JSON.
func TestProveReasons(t *testing.T) {
	of := func(e registry.Event, tree string) drill.Drill {
		return drill.Drill{Strategy: "linux/x", Event: e, Tree: tree, Reach: registry.ReachTree, Within: time.Second}
	}
	results := []drill.Result{
		{Drill: of("a", "mixed"), Took: time.Millisecond},
		{Drill: of("a", "crowd"), Err: fmt.Errorf("%w: no room", drill.ErrSkipped)},
		{Drill: of("b", "mixed"), Err: fmt.Errorf("%w: not possible", drill.ErrSkipped)},
		{Drill: of("c", "mixed"), Err: errors.New("2 of 3 have survived"), Survivors: []string{"child 1", "child 2"}},
		{Drill: of("d", "mixed"), Err: fmt.Errorf("%w: after 9s", drill.ErrSlow)},
		{Drill: of("e", "mixed"), Took: 2 * time.Second, Late: true, Note: "after 2s on a busy host"},
	}
	var rows bytes.Buffer
	p := prover{progress: func(string, ...any) {}, out: &rows}
	o := &proof{Schema: 1, Proved: true}
	for _, r := range results {
		o.enter(r)
	}
	if err := p.finish(o); err != nil {
		t.Fatal(err)
	}
	for event, want := range map[registry.Event]struct {
		proved                   bool
		slow, skipped, survivors int
	}{
		"a": {proved: true, skipped: 1}, "b": {skipped: 1}, "c": {survivors: 2}, "d": {slow: 1}, "e": {proved: true},
	} {
		i := slices.IndexFunc(o.Rows, func(w proofRow) bool { return w.Event == event })
		w := o.Rows[i]
		if w.Proved != want.proved || w.Slow != want.slow || w.Skipped != want.skipped || w.Survivors != want.survivors {
			t.Errorf("%s: %+v", event, w)
		}
	}
	if n := strings.Count(rows.String(), "\n"); o.Proved || n != 5 {
		t.Errorf("proved %v, %d rows:\n%s", o.Proved, n, rows.String())
	}
	for _, format := range []string{"table", "json"} {
		text, err := o.rest(format)
		if err != nil {
			t.Fatal(err)
		}
		for _, reason := range []string{"a/crowd: skipped: no room", "b/mixed: skipped: not possible", "c/mixed: 2 of 3 have survived", "d/mixed: slow: after 9s", "e/mixed: after 2s on a busy host"} {
			if !strings.Contains(text, reason) {
				t.Errorf("%s: %q is missing in\n%s", format, reason, text)
			}
		}
	}
}

// TestProveAsksForReports: whoever runs for the first time what nobody has run is told
// where to say how it went.
func TestProveAsksForReports(t *testing.T) {
	for want, o := range map[bool]proof{true: {Unproved: []string{"any/thing"}}, false: {}} {
		text, err := o.rest("table")
		if err != nil || strings.Contains(strings.ReplaceAll(text, "\n  ", " "), "prove -o json any/thing, and contain version, to "+reports) != want {
			t.Errorf("unproved %v: %v\n%s", o.Unproved, err, text)
		}
	}
}
