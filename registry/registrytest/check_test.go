package registrytest_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/noop"
)

func TestCheckPasses(t *testing.T) {
	elsewhere := registry.PlatformWindows
	if registry.CurrentPlatform() == elsewhere {
		elsewhere = registry.PlatformLinux
	}
	contract := registry.PidfdContract()
	contract.KillDeadline = time.Second
	for what, s := range map[string]registry.Strategy{
		"the zero Fake": new(registrytest.Fake),
		"noop":          noop.New(),
		"a fake of another platform": &registrytest.Fake{Name: string(elsewhere) + "/fake",
			Description: registry.Description{Platform: elsewhere}},
		"a supervisor that is quicker": &registrytest.Fake{Description: registry.Description{Supervisor: &contract,
			Guarantees: guarantees("owner-killed=tree/supervisor", "both-killed=child/kernel")}},
		"a leader's exit noticed by the owner": &registrytest.Fake{Description: registry.Description{
			Guarantees: guarantees("owner-killed=tree/kernel", "leader-exit=tree/supervisor")}},
	} {
		if err := registrytest.Check(s); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func guarantees(texts ...string) (gs []registry.Guarantee) {
	for _, text := range texts {
		r, err := registry.ParseRequirement(text)
		if err != nil {
			panic(err)
		}
		gs = append(gs, registry.Guarantee{Event: r.Event, Reach: r.Reach, Enforcer: r.Enforcer, Within: time.Second})
	}
	return gs
}

// fickle describes itself anew each time, from memory that it shares.
type fickle struct {
	*registrytest.Fake
	describe func() registry.Description
}

func (f *fickle) Describe() registry.Description { return f.describe() }

// target says something else than the description.
type target struct{ *registrytest.Fake }

func (target) Target() registry.Cleanup { return "something-else" }

// pretender claims to work wherever it is.
type pretender struct{ *registrytest.Fake }

func (pretender) Probe(context.Context) error { return nil }
func (pretender) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, nil
}
func (pretender) Run(context.Context, *exec.Cmd, registry.RunOptions) (registry.RunResult, error) {
	return registry.RunResult{}, nil
}

func TestCheckFinds(t *testing.T) {
	describe := func(d registry.Description) registry.Strategy { return &registrytest.Fake{Description: d} }
	declare := func(gs ...registry.Guarantee) registry.Strategy {
		return describe(registry.Description{Guarantees: gs})
	}
	shared := new(registrytest.Fake).Describe()
	calls := 0
	contract := registry.PidfdContract()
	noMechanism, wrongWatch, filterless, slow := contract, contract, registry.BrokerContract(), contract
	noMechanism.Mechanism, wrongWatch.Watch, filterless.Filter, slow.KillDeadline = "", "the moon", "", time.Minute
	supervised := func(c registry.SupervisorContract) registry.Strategy {
		return describe(registry.Description{Supervisor: &c, Guarantees: guarantees("owner-killed=tree/supervisor")})
	}
	tree := guarantees("owner-killed=tree/kernel")[0]

	for want, s := range map[string]registry.Strategy{
		"it is nil":             nil,
		"hands out memory":      &fickle{new(registrytest.Fake), func() registry.Description { return shared }},
		"something else when":   &fickle{new(registrytest.Fake), func() registry.Description { calls++; d := shared.Clone(); d.Preference = calls; return d }},
		`begins with "linux"`:   &registrytest.Fake{Name: "linux/fake"},
		`begins with "any"`:     describe(registry.Description{Platform: registry.CurrentPlatform()}),
		"Summary: ":             describe(registry.Description{Summary: "two\nlines"}),
		`Limits: ""`:            describe(registry.Description{Limits: []string{""}}),
		`Requires: " padded"`:   describe(registry.Description{Requires: []string{" padded"}}),
		"Target returns":        target{new(registrytest.Fake)},
		"no limit is named":     describe(registry.Description{Limits: []string{}}),
		"unknown event":         declare(registry.Guarantee{Event: "rain", Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: 1}),
		"unknown reach":         declare(registry.Guarantee{Event: registry.EventOwnerExit, Reach: "wood", Enforcer: registry.EnforcerKernel, Within: 1}),
		`unknown enforcer ""`:   declare(registry.Guarantee{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Within: 1}),
		"Within is 0s":          declare(registry.Guarantee{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel}),
		"has a guarantee":       declare(tree, tree),
		"the supervisor is":     describe(registry.Description{Supervisor: &contract, Guarantees: guarantees("both-killed=tree/supervisor")}),
		"but Supervisor is nil": declare(guarantees("owner-killed=tree/supervisor")...),
		"no guarantee is enfor": describe(registry.Description{Supervisor: &contract, Guarantees: []registry.Guarantee{tree}}),
		"names no mechanism":    supervised(noMechanism),
		"the moon":              supervised(wrongWatch),
		"want {Mechanism:kqueu": supervised(filterless),
		"KillDeadline:1m0s":     supervised(slow),
	} {
		if err := registrytest.Check(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}

	p := pretender{&registrytest.Fake{Name: "plan9/fake", Description: registry.Description{Platform: "plan9"}}}
	err := registrytest.Check(p)
	for _, method := range []string{"Install on ", "Probe on ", "Run on "} {
		if err == nil || !strings.Contains(err.Error(), method) {
			t.Errorf("%s pretends, and Check says %v", method, err)
		}
	}
	var typed *registry.Error
	if !errors.As(err, &typed) || typed.Strategy != "plan9/fake" {
		t.Errorf("%v does not name the strategy", err)
	}
}
