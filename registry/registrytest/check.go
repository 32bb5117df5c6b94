package registrytest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

// Check says what is wrong with a strategy's metadata, or nil: that it is stable
// and copied, complete, consistent in itself and with the interfaces that s
// implements, and that off its platform s fails instead of pretending. It starts
// nothing and puts nothing in force, except that off its platform it calls s's
// methods, which are to refuse.
func Check(s registry.Strategy) error {
	if err := new(registry.Registry).Register(s); err != nil {
		return err
	}
	d := s.Describe()
	var problems []error
	for _, check := range []func() []string{
		func() []string { return unstable(s) },
		func() []string { return misnamed(d) },
		func() []string { return incomplete(d, s.Target()) },
		func() []string { return badGuarantees(d.Guarantees) },
		func() []string { return badSupervisor(d) },
		func() []string { return pretends(s, d) },
	} {
		for _, problem := range check() {
			problems = append(problems, &registry.Error{Op: "check", Strategy: d.Name, Err: errors.New(problem)})
		}
	}
	return errors.Join(problems...)
}

// unstable changes everything that it is given and looks whether that shows.
func unstable(s registry.Strategy) (problems []string) {
	before := s.Describe().Clone()
	if !reflect.DeepEqual(before, s.Describe()) {
		problems = append(problems, "Describe returns something else when it is called again")
	}
	scribble(s.Describe())
	if !reflect.DeepEqual(before, s.Describe()) {
		problems = append(problems, "Describe hands out memory of its own: a caller's change shows in the next description")
	}
	return problems
}

func scribble(d registry.Description) {
	for _, words := range [][]string{d.Requires, d.Limits} {
		for i := range words {
			words[i] = "changed"
		}
	}
	clear(d.Guarantees)
	if d.Supervisor != nil {
		*d.Supervisor = registry.SupervisorContract{}
	}
}

func misnamed(d registry.Description) (problems []string) {
	prefix, _, _ := strings.Cut(d.Name, "/")
	named := []registry.Platform{registry.PlatformLinux, registry.PlatformWindows, registry.PlatformDarwin}
	switch {
	case d.Platform == "":
		problems = append(problems, "Platform is empty")
	case d.Platform == registry.PlatformAny && slices.Contains(named, registry.Platform(prefix)),
		d.Platform != registry.PlatformAny && prefix != string(d.Platform):
		problems = append(problems, fmt.Sprintf("the name begins with %q but Platform is %q", prefix, d.Platform))
	}
	return problems
}

func incomplete(d registry.Description, target registry.Cleanup) (problems []string) {
	for field, lines := range map[string][]string{"Summary": {d.Summary}, "Requires": d.Requires, "Limits": d.Limits} {
		for _, line := range lines {
			if line == "" || line != strings.TrimSpace(line) || strings.ContainsAny(line, "\r\n\t") {
				problems = append(problems, fmt.Sprintf("%s: %q is not one line of text", field, line))
			}
		}
	}
	slices.Sort(problems)
	if d.Target == "" || d.Target != target {
		problems = append(problems, fmt.Sprintf("Describe's target is %q, Target returns %q", d.Target, target))
	}
	if len(d.Guarantees) > 0 && len(d.Limits) == 0 {
		problems = append(problems, "something is guaranteed but no limit is named; nothing holds everywhere")
	}
	return problems
}

func badGuarantees(gs []registry.Guarantee) (problems []string) {
	bad := func(g registry.Guarantee, what string) {
		problems = append(problems, fmt.Sprintf("guarantee %v: %s", g, what))
	}
	for i, g := range gs {
		if _, err := registry.ParseRequirement(g.String()); err != nil {
			bad(g, "it has an unknown word: "+err.Error())
		}
		if g.Within <= 0 {
			bad(g, fmt.Sprintf("Within is %v", g.Within))
		}
		if g.Event == registry.EventBothKilled && g.Enforcer == registry.EnforcerSupervisor {
			bad(g, "the supervisor is dead then")
		}
		if slices.ContainsFunc(gs[:i], func(h registry.Guarantee) bool { return h.Event == g.Event }) {
			bad(g, "the event has a guarantee already; declare the strongest only")
		}
	}
	return problems
}

// badSupervisor compares the contract with the guarantees. A leader's exit may be
// noticed by the owner itself, so a supervisor that enforces only that needs no
// process of its own and no contract.
func badSupervisor(d registry.Description) (problems []string) {
	enforces, needed := false, false
	for _, g := range d.Guarantees {
		if g.Enforcer == registry.EnforcerSupervisor {
			enforces = true
			needed = needed || g.Event != registry.EventLeaderExit
		}
	}
	switch c := d.Supervisor; {
	case c == nil && needed:
		problems = append(problems, "a supervisor enforces a guarantee, but Supervisor is nil")
	case c != nil && !enforces:
		problems = append(problems, "Supervisor is set, but no guarantee is enforced by a supervisor")
	case c != nil:
		problems = append(problems, badContract(*c)...)
	}
	return problems
}

func badContract(c registry.SupervisorContract) (problems []string) {
	want := registry.BrokerContract()
	want.Mechanism = c.Mechanism
	if c.Mechanism != registry.MechanismKqueue {
		want.Filter, want.Note = "", ""
	}
	if c.KillDeadline > 0 && c.KillDeadline < want.KillDeadline {
		want.KillDeadline = c.KillDeadline // sooner is fine
	}
	if c.Mechanism == "" {
		problems = append(problems, "the supervisor contract names no mechanism")
	}
	if c != want {
		problems = append(problems, fmt.Sprintf("the supervisor contract is %+v, want %+v", c, want))
	}
	return problems
}

// pretends calls what must refuse off the strategy's platform.
func pretends(s registry.Strategy, d registry.Description) (problems []string) {
	if d.Platform.Includes(registry.CurrentPlatform()) {
		return nil
	}
	refuses := func(method string, err error) {
		if !errors.Is(err, errors.ErrUnsupported) {
			problems = append(problems, fmt.Sprintf("%s on %s: error %v, want one that wraps errors.ErrUnsupported",
				method, registry.CurrentPlatform(), err))
		}
	}
	ctx := context.Background()
	in, err := s.Install(ctx, registry.InstallOptions{})
	refuses("Install", err)
	if in != nil && err != nil {
		problems = append(problems, "Install returns an installation together with an error")
	}
	if p, ok := s.(registry.Prober); ok {
		refuses("Probe", p.Probe(ctx))
	}
	if r, ok := s.(registry.Runner); ok {
		_, err := r.Run(ctx, exec.Command("contain-registrytest-no-such-command"), registry.RunOptions{})
		refuses("Run", err)
	}
	return problems
}
