package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// declared is a strategy that only describes itself.
type declared struct {
	registry.Description
	probe error
}

func (d declared) Describe() registry.Description { return d.Clone() }
func (d declared) Target() registry.Cleanup       { return d.Description.Target }
func (d declared) Probe(context.Context) error    { return d.probe }
func (d declared) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, errors.ErrUnsupported
}

// onMoon is an imaginary host, so that what these tests see is the same everywhere.
const onMoon registry.Platform = "plan9"

func gone(e registry.Event, r registry.Reach, by registry.Enforcer, within time.Duration) registry.Guarantee {
	return registry.Guarantee{Event: e, Reach: r, Enforcer: by, Within: within}
}

func registryOf(ds ...declared) *registry.Registry {
	var reg registry.Registry
	for _, d := range ds {
		reg.MustRegister(d)
	}
	return &reg
}

// sample has a strategy for each thing that can be said of one.
func sample() *registry.Registry {
	pidfd, kqueue := registry.PidfdContract(), registry.BrokerContract()
	tree := gone(registry.EventOwnerKilled, registry.ReachTree, registry.EnforcerSupervisor, 5*time.Second)
	kernel := gone(registry.EventOwnerKilled, registry.ReachTree, registry.EnforcerKernel, time.Second)
	child := gone(registry.EventOwnerKilled, registry.ReachChild, registry.EnforcerKernel, time.Second)
	refused := &registry.Error{Op: "probe", Strategy: "plan9/broken",
		Err: fmt.Errorf("open /srv: permission denied\nask for it: %w", errors.ErrUnsupported)}
	return registryOf(
		declared{registry.Description{Name: "plan9/notes", Platform: onMoon, Summary: "Children <end> with notes & more.", Target: "plan9-notes",
			Guarantees: []registry.Guarantee{child}, Requires: []string{"a note group"}, Limits: []string{"what leaves the group"}}, nil},
		declared{registry.Description{Name: "plan9/walker", Platform: onMoon, Summary: "A supervisor walks the tree.", Target: "plan9-notes",
			Guarantees: []registry.Guarantee{tree}, Supervisor: &pidfd}, nil},
		declared{registry.Description{Name: "plan9/broken", Platform: onMoon, Summary: "Does not work.", Target: "plan9-notes",
			Guarantees: []registry.Guarantee{kernel}, Preference: 1}, refused},
		declared{registry.Description{Name: "plan9/space", Platform: onMoon, Summary: "Has side effects.", Target: "plan9-notes",
			Guarantees: []registry.Guarantee{kernel}, OptIn: true}, nil},
		declared{registry.Description{Name: "plan9/vendor.second", Platform: onMoon, Summary: "Is second.", Target: "plan9-notes",
			Guarantees: []registry.Guarantee{tree}}, nil},
		declared{registry.Description{Name: "darwin/kqueue", Platform: registry.PlatformDarwin, Summary: "A kqueue supervisor.", Target: "macos-kqueue-supervisor-contract",
			Guarantees: []registry.Guarantee{tree}, Supervisor: &kqueue, Unproved: "not run by us"}, errors.ErrUnsupported},
		declared{registry.Description{Name: "noop/noop", Platform: registry.PlatformAny, Summary: "Nothing.", Target: registry.CleanupUnsupportedNoop}, nil},
	)
}

func describeSample(t *testing.T, platform registry.Platform) description {
	t.Helper()
	reg := sample()
	return newReport(t.Context(), reg, onMoon, rank(reg, onMoon, platform))
}

// TestJSONSchema pins names, order and form of everything that -o json prints.
func TestJSONSchema(t *testing.T) {
	got, err := renderJSON(describeSample(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/describe.json"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("the JSON differs from %s:\n%s", golden, got)
	}
}

// TestRegisteredStrategies: what is registered can be shown, here and in full.
func TestRegisteredStrategies(t *testing.T) {
	reg, host := registry.Default(), registry.CurrentPlatform()
	d := newReport(t.Context(), reg, host, rank(reg, host, ""))
	if len(d.Strategies) != len(reg.All()) {
		t.Errorf("%d strategies shown, %d registered", len(d.Strategies), len(reg.All()))
	}
	text, err := renderJSON(d)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid([]byte(text)) || strings.Contains(text, ": null") {
		t.Errorf("not valid, or a null: %s", text)
	}
	for _, e := range d.Strategies {
		if (e.Probe != nil) != e.Platform.Includes(host) {
			t.Errorf("%s: probe %v on %s", e.Name, e.Probe, host)
		}
	}
	checkColumns(t, renderTable(d))
	checkColumns(t, renderDetails(d))
}

func TestStatus(t *testing.T) {
	want := map[string]string{
		"plan9/broken":        "does not work here: probe: open /srv: permission denied; ask for it: unsupported operation",
		"plan9/space":         "works here; opt-in: has side effects on the backend; name it or require what only it gives",
		"plan9/walker":        "chosen here by default",
		"plan9/vendor.second": "works here; ranks below plan9/walker",
		"plan9/notes":         "works here; promises less than the default minimum, owner-killed=tree",
		"noop/noop":           "works here; promises less than the default minimum, owner-killed=tree",
		"darwin/kqueue":       "not for plan9",
	}
	var order []string
	for _, e := range describeSample(t, "").Strategies {
		if e.status != want[e.Name] {
			t.Errorf("%s: %q, want %q", e.Name, e.status, want[e.Name])
		}
		order = append(order, fmt.Sprintf("%s:%d", e.Name, e.Rank))
	}
	const wantOrder = "plan9/broken:1 plan9/space:2 plan9/walker:3 plan9/vendor.second:4 plan9/notes:5 noop/noop:6 darwin/kqueue:1"
	if got := strings.Join(order, " "); got != wantOrder {
		t.Errorf("order\n%s, want\n%s", got, wantOrder)
	}
}

// TestNothingInForce: an unexpected error stops the resolution, and is told.
func TestNothingInForce(t *testing.T) {
	tree := []registry.Guarantee{gone(registry.EventOwnerKilled, registry.ReachTree, registry.EnforcerKernel, time.Second)}
	reg := registryOf(
		declared{registry.Description{Name: "plan9/a", Platform: onMoon, Guarantees: tree}, errors.New("the disk is on fire")},
		declared{registry.Description{Name: "plan9/b", Platform: onMoon, Guarantees: tree}, nil},
	)
	d := newReport(t.Context(), reg, onMoon, rank(reg, onMoon, onMoon))
	if d.Active != "" {
		t.Errorf("active %q", d.Active)
	}
	if got, want := d.Strategies[1].status, "works here; not reached, because plan9/a failed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if table := renderTable(d); !strings.HasPrefix(table, "Nothing is chosen here (plan9) by default") {
		t.Error(table)
	}
}

// TestEmptyRegistry: no strategy at all is shown as that.
func TestEmptyRegistry(t *testing.T) {
	var reg registry.Registry
	d := newReport(t.Context(), &reg, onMoon, rank(&reg, onMoon, ""))
	text, err := renderJSON(d)
	if err != nil || !strings.Contains(text, `"strategies": []`) {
		t.Errorf("%s, %v", text, err)
	}
	checkColumns(t, renderTable(d))
}

// TestTableWidth: no text, however long, makes a line longer than the table.
func TestTableWidth(t *testing.T) {
	long := strings.Repeat("unbreakable", 20) + " and\nlines\tof words " + strings.Repeat("word ", 60)
	var all []registry.Guarantee
	for _, e := range registry.Events() {
		all = append(all, gone(e, registry.ReachTree, registry.EnforcerSupervisor, 1<<63-1))
	}
	contract := registry.BrokerContract()
	reg := registryOf(declared{registry.Description{
		Name: "plan9/" + strings.Repeat("vendor", 10) + ".thing", Platform: onMoon, Summary: long, Target: registry.Cleanup(long),
		Guarantees: all, Requires: []string{long}, Limits: []string{long, long}, Supervisor: &contract, OptIn: true, Unproved: long,
	}, errors.New(long)})
	d := newReport(t.Context(), reg, onMoon, rank(reg, onMoon, ""))
	checkColumns(t, renderTable(d))
	checkColumns(t, renderDetails(d))
	checkColumns(t, renderTable(describeSample(t, "")))
	checkColumns(t, renderDetails(describeSample(t, "")))
}

func checkColumns(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := len([]rune(line)); n > tableWidth || line != strings.TrimRight(line, " ") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 5, ""},
		{"one", 5, "one"},
		{"one two", 7, "one two"},
		{"one two", 6, "one|two"},
		{"abcdefgh i", 3, "abc|def|gh|i"},
		{"a abcdef", 3, "a|abc|def"},
		{" a\n\tb\x1b c ", 20, "a b c"},
		{"äöü ß", 3, "äöü|ß"},
		{"ab", 0, "a|b"},
	} {
		if got := strings.Join(wrap(tc.text, tc.width), "|"); got != tc.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", tc.text, tc.width, got, tc.want)
		}
	}
}
