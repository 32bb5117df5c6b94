package registry_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

func TestParseRequirement(t *testing.T) {
	for _, tt := range []struct {
		text string
		want registry.Requirement
		err  string // what the error must say, "" for none
	}{
		{text: "owner-killed=tree", want: registry.DefaultRequirement()},
		{text: "owner-killed=tree/kernel", want: registry.Requirement{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel}},
		{text: "both-killed=child/supervisor", want: registry.Requirement{Event: registry.EventBothKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerSupervisor}},
		{text: "supervisor-killed=child", want: registry.Requirement{Event: registry.EventSupervisorKilled, Reach: registry.ReachChild}},
		{text: "leader-exit=tree", want: registry.Requirement{Event: registry.EventLeaderExit, Reach: registry.ReachTree}},
		{text: "owner-exit=tree", want: registry.Requirement{Event: registry.EventOwnerExit, Reach: registry.ReachTree}},
		{text: "", err: "no '='"},
		{text: "owner-killed", err: "no '='"},
		{text: "=tree", err: `unknown event ""`},
		{text: "owner-dead=tree", err: `unknown event "owner-dead"`},
		{text: "owner-killed=", err: `unknown reach ""`},
		{text: "owner-killed=forest", err: `unknown reach "forest"`},
		{text: "owner-killed=tree/", err: `unknown enforcer ""`},
		{text: "owner-killed=tree/any", err: `unknown enforcer "any"`},
		{text: "owner-killed=tree/kernel/kernel", err: `unknown enforcer "kernel/kernel"`},
		{text: "owner-killed=tree=tree", err: `unknown reach "tree=tree"`},
		{text: " owner-killed=tree", err: `unknown event " owner-killed"`},
		{text: "Owner-Killed=tree", err: `unknown event "Owner-Killed"`},
		{text: "owner-killed=tree\n", err: "unknown reach"},
	} {
		got, err := registry.ParseRequirement(tt.text)
		switch {
		case tt.err == "" && (err != nil || got != tt.want || got.String() != tt.text):
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || got != registry.Requirement{}):
			t.Errorf("%q: %+v, %v; want an error with %s", tt.text, got, err, tt.err)
		case err != nil && (!strings.Contains(err.Error(), "want EVENT=REACH[/ENFORCER]") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%q: the error does not say on one line what is wanted: %v", tt.text, err)
		}
	}
}

func FuzzParseRequirement(f *testing.F) {
	for _, seed := range []string{"owner-killed=tree", "both-killed=child/kernel", "leader-exit=tree/supervisor", "=/", "a=b/c", "owner-killed=tree/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := registry.ParseRequirement(text)
		if err != nil {
			return
		}
		if r.String() != text {
			t.Errorf("%q is read as %q", text, r)
		}
		// What parses is satisfied by the strongest guarantee for its event.
		if !r.SatisfiedBy(registry.Guarantee{Event: r.Event, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel}) {
			t.Errorf("%q is satisfied by nothing", text)
		}
	})
}

func TestRequirementIsAMinimum(t *testing.T) {
	for want, satisfying := range map[string]string{
		"owner-killed=child":            "child/supervisor child/kernel tree/supervisor tree/kernel",
		"owner-killed=child/supervisor": "child/supervisor child/kernel tree/supervisor tree/kernel",
		"owner-killed=child/kernel":     "child/kernel tree/kernel",
		"owner-killed=tree":             "tree/supervisor tree/kernel",
		"owner-killed=tree/supervisor":  "tree/supervisor tree/kernel",
		"owner-killed=tree/kernel":      "tree/kernel",
		"both-killed=child":             "",
	} {
		r, err := registry.ParseRequirement(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range named("linux/a", "owner-killed=child/supervisor", "owner-killed=child/kernel",
			"owner-killed=tree/supervisor", "owner-killed=tree/kernel").d.Guarantees {
			level := string(g.Reach) + "/" + string(g.Enforcer)
			if got := r.SatisfiedBy(g); got != strings.Contains(satisfying, level) {
				t.Errorf("%s satisfied by %s: %v", want, g, got)
			}
		}
	}
}

func TestRequirementText(t *testing.T) {
	var config struct{ Require []registry.Requirement }
	const text = `{"Require":["owner-killed=tree","both-killed=child/kernel"]}`
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if back, err := json.Marshal(config); err != nil || string(back) != text {
		t.Errorf("%s, %v", back, err)
	}
	r := registry.DefaultRequirement()
	if err := r.UnmarshalText([]byte("nonsense")); err == nil || r != registry.DefaultRequirement() {
		t.Errorf("a failed UnmarshalText: %v, and the value is %v", err, r)
	}
}

func TestGuaranteeJSON(t *testing.T) {
	g := registry.Guarantee{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: 5 * time.Second}
	const want = `{"event":"owner-killed","reach":"tree","enforcer":"supervisor","within":"5s"}`
	text, err := json.Marshal(g)
	if err != nil || string(text) != want {
		t.Errorf("%s, %v\nwant %s", text, err, want)
	}
	var back registry.Guarantee
	if err := json.Unmarshal(text, &back); err != nil || back != g {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{`{"within":"soon"}`, `{"within":5}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil || back != g {
			t.Errorf("%s: %v, and the value is %v", bad, err, back)
		}
	}
	if g.String() != "owner-killed=tree/supervisor" {
		t.Errorf("String: %s", g)
	}
}

func TestContractJSON(t *testing.T) {
	for want, c := range map[string]registry.SupervisorContract{
		`{"mechanism":"kqueue","watch":"broker-parent","filter":"EVFILT_PROC","note":"NOTE_EXIT",` +
			`"barrier":"before-backend-pipe-publication","raceGuard":"recheck-broker-alive-after-registration",` +
			`"signal":"SIGKILL","killDeadline":"5s"}`: registry.BrokerContract(),
		`{"mechanism":"pidfd","watch":"broker-parent",` +
			`"barrier":"before-backend-pipe-publication","raceGuard":"recheck-broker-alive-after-registration",` +
			`"signal":"SIGKILL","killDeadline":"5s"}`: registry.PidfdContract(),
	} {
		if text, err := json.Marshal(c); err != nil || string(text) != want {
			t.Errorf("%s, %v\nwant %s", text, err, want)
		}
		if c.KillDeadline != registry.SupervisorKillDeadline || c.SignalName() != "SIGKILL" {
			t.Errorf("deadline %v, signal %s", c.KillDeadline, c.SignalName())
		}
	}
	if registry.Signal(0).String() != "" {
		t.Error("a number that the contract does not know has a name")
	}
	changed := registry.BrokerContract()
	changed.Watch = "something else"
	if registry.BrokerContract().Watch != registry.WatchBrokerParent {
		t.Error("BrokerContract hands out shared memory")
	}
}

func TestDescriptionCloneIsDeep(t *testing.T) {
	contract := registry.BrokerContract()
	original := registry.Description{
		Name: "linux/a", Guarantees: []registry.Guarantee{{Event: registry.EventOwnerExit}},
		Requires: []string{"r"}, Limits: []string{"l"}, Supervisor: &contract,
	}
	clone := original.Clone()
	if !reflect.DeepEqual(original, clone) {
		t.Fatalf("%+v is not %+v", clone, original)
	}
	clone.Guarantees[0].Event, clone.Requires[0], clone.Limits[0], clone.Supervisor.Watch = "", "", "", ""
	if original.Guarantees[0].Event == "" || original.Requires[0] == "" || original.Limits[0] == "" || original.Supervisor.Watch == "" {
		t.Errorf("a change of the clone shows in the original: %+v", original)
	}
	// Every reference in the struct is covered: a new field must be looked at here.
	for i := range reflect.TypeFor[registry.Description]().NumField() {
		f := reflect.TypeFor[registry.Description]().Field(i)
		known := strings.Contains(" Guarantees Requires Limits Supervisor ", " "+f.Name+" ")
		if k := f.Type.Kind(); (k == reflect.Slice || k == reflect.Pointer || k == reflect.Map) != known {
			t.Errorf("Description.%s: does Clone copy it?", f.Name)
		}
	}
}

func TestLeaderExitNames(t *testing.T) {
	for l, want := range map[registry.LeaderExit]string{
		registry.LeaderExitKill: "kill", registry.LeaderExitWait: "wait", registry.LeaderExitLeave: "leave", 7: "invalid",
	} {
		if l.String() != want {
			t.Errorf("%d is %q, want %q", int(l), l, want)
		}
	}
}
