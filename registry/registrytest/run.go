package registrytest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
)

// A Harness says what Run is to prove.
type Harness struct {
	// Strategy is what is drilled. A process that plays the owner looks it up by
	// name, in registry.Default or among those that Main was given.
	Strategy registry.Strategy
	// Options are those of the drills. The zero value holds the quick drills, a few
	// seconds for each strategy; every drill with CONTAIN_FULL=drills in the environment, and
	// CONTAIN_FULL=1 has 300 tries of those that depend on a moment, where 30 are made
	// otherwise. Slack is 10 s unless set.
	Options drill.Options
}

// Main belongs into an init function of the test package: it lets the test
// executable, started again by a drill, take its role there. It returns at once
// in a test. Strategies that are not in registry.Default are given here.
func Main(own ...registry.Strategy) {
	playBackend(own)
	drill.Main(own...)
}

// Run is the conformance kit for strategies: it checks the metadata, holds the
// strategy to the interfaces as [Test] does, and holds a drill with real processes
// for everything that the strategy declares and for what follows from it. A strategy's test is one line, beside Main:
//
//	func init() { registrytest.Main() }
//
//	func TestConformance(t *testing.T) { registrytest.Run(t, registrytest.Harness{Strategy: New()}) }
//
// Subtests are named interface/NAME, and event, way/tree/owner. Where the strategy
// does not work on this host, because Probe says so by an error that wraps
// errors.ErrUnsupported, or no drill can be held, the test is skipped after the
// check of the metadata. Any other error of Probe is a failure.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if err := Check(h.Strategy); err != nil {
		t.Error(err)
	}
	d := h.Strategy.Describe()
	if !d.Platform.Includes(registry.CurrentPlatform()) {
		t.Skipf("%s is for %s", d.Name, d.Platform)
	}
	if err := registry.Probe(t.Context(), h.Strategy); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("%s does not work here: %v", d.Name, err)
	} else if err != nil {
		t.Fatalf("Probe: %v", err)
	}
	for _, b := range behaviours {
		passed := t.Run("interface/"+b.name, func(t *testing.T) {
			if err := b.try(t.Context(), h.Strategy); err != nil {
				t.Errorf("%s: %v", b.about, err)
			}
		})
		if !passed && b.name == "launcher" {
			t.FailNow() // each drill would wait for a backend that never is one
		}
	}
	o := h.Options
	full := os.Getenv("CONTAIN_FULL")
	o.Quick = o.Quick || full == ""
	if o.Tries == 0 && full != "1" {
		o.Tries = 30
	}
	if o.Slack == 0 {
		o.Slack = 10 * time.Second
	}
	lab, err := drill.NewLab(o)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(lab.Close)
	for _, experiment := range drill.Plan(d, o) {
		t.Run(experiment.String(), func(t *testing.T) { hold(t, lab, experiment) })
	}
}

func hold(t *testing.T, lab *drill.Lab, d drill.Drill) {
	r, applies := lab.Run(t.Context(), d)
	switch {
	case !applies:
		t.Skip("does not apply")
	case errors.Is(r.Err, drill.ErrSkipped):
		t.Skip(r.Err)
	case r.Err != nil:
		t.Errorf("%v; survivors: %v", r.Err, r.Survivors)
	default:
		t.Logf("%d processes gone within %v %s", r.Processes, r.Took.Round(time.Microsecond), r.Note)
	}
}
