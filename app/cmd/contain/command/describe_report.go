package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed329817d7/contain/registry"
)

// description is what describe shows. Its JSON form is an interface: keys may be
// added, none may change.
type description struct {
	Schema     int               `json:"schema"`
	Platform   registry.Platform `json:"platform"` // this host's, whatever is shown
	Active     string            `json:"active"`   // chosen here by default; "" if nothing is
	Strategies []strategyEntry   `json:"strategies"`
	Enclosing  *enclosingJob     `json:"enclosing,omitempty"` // absent where there are no jobs
}

type strategyEntry struct {
	Name       string                       `json:"name"`
	Platform   registry.Platform            `json:"platform"`
	Rank       int                          `json:"rank"`
	OptIn      bool                         `json:"optIn"`
	Target     registry.Cleanup             `json:"target"`
	Summary    string                       `json:"summary"`
	Guarantees []registry.Guarantee         `json:"guarantees"`
	Requires   []string                     `json:"requires"`
	Limits     []string                     `json:"limits"`
	Supervisor *registry.SupervisorContract `json:"supervisor,omitempty"`
	Probe      *probeResult                 `json:"probe,omitempty"` // absent on another platform
	Unproved   string                       `json:"unproved,omitempty"`

	// status is "chosen here by default", or why not, for people.
	status string
}

type probeResult struct {
	Usable bool   `json:"usable"`
	Reason string `json:"reason"`
	// SupervisorWay is how supervisors begin here: entry, before the Go runtime, or
	// first-init, in the first init function. Absent where there is but one way.
	SupervisorWay string `json:"supervisorWay,omitempty"`
}

// ranked is a strategy with its place among those of its platform.
type ranked struct {
	s    registry.Strategy
	d    registry.Description
	rank int
}

// rank returns the strategies that apply on platform by rank; for "" those that
// apply on host, and then those of every other platform. One for any platform
// ranks among those of the platform that it is shown with.
func rank(reg *registry.Registry, host, platform registry.Platform) []ranked {
	order := []registry.Platform{platform}
	if platform == "" {
		order = []registry.Platform{host}
		for _, p := range platforms() {
			if p := registry.Platform(p); p != host {
				order = append(order, p)
			}
		}
	}
	var all []ranked
	shown := make(map[string]bool)
	for _, p := range order {
		for i, s := range reg.Candidates(p) {
			if d := s.Describe(); !shown[d.Name] {
				shown[d.Name] = true
				all = append(all, ranked{s, d, i + 1})
			}
		}
	}
	return all
}

// newReport probes what applies on this host, resolves which is chosen here by
// default, and describes the chosen strategies.
func newReport(ctx context.Context, reg *registry.Registry, host registry.Platform, chosen []ranked) description {
	h := probeHost(ctx, reg, host)
	out := description{Schema: 1, Platform: host, Active: h.active, Strategies: []strategyEntry{}}
	for _, r := range chosen {
		d := r.d
		e := strategyEntry{
			Name: d.Name, Platform: d.Platform, Rank: r.rank, OptIn: d.OptIn, Target: d.Target, Summary: d.Summary,
			Guarantees: notNil(d.Guarantees), Requires: notNil(d.Requires), Limits: notNil(d.Limits),
			Supervisor: d.Supervisor, Unproved: d.Unproved, status: h.status(d),
		}
		if err, probed := h.probes[d.Name]; probed {
			e.Probe = &probeResult{Usable: err == nil, Reason: reason(d.Name, err)}
			if s, ok := r.s.(registry.Supervised); ok && err == nil {
				e.Probe.SupervisorWay = s.SupervisorWay()
			}
		}
		out.Strategies = append(out.Strategies, e)
	}
	return out
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// hostState is what was found on this host.
type hostState struct {
	platform registry.Platform
	active   string
	probes   map[string]error // by name, of every strategy that applies here
	skipped  map[string]error // by name, of those that rank above the active one
	stopped  string           // the strategy whose unexpected error ended the resolution
}

// probeHost tries each strategy that applies on host once, and resolves with
// what was found.
func probeHost(ctx context.Context, reg *registry.Registry, host registry.Platform) hostState {
	h := hostState{platform: host, probes: make(map[string]error), skipped: make(map[string]error)}
	for _, s := range reg.Candidates(host) {
		h.probes[s.Describe().Name] = registry.Probe(ctx, s)
	}
	res, err := reg.Resolve(ctx, host, registry.Wanted{
		Try: func(_ context.Context, r registry.Resolution) error { return h.probes[r.Description.Name] },
	})
	for _, skip := range res.Skipped {
		h.skipped[skip.Name] = skip.Err
	}
	if err == nil {
		h.active = res.Description.Name
	} else if n := len(res.Skipped); n > 0 {
		h.stopped = res.Skipped[n-1].Name
	}
	return h
}

// status says that d is chosen here by default, or why not.
func (h hostState) status(d registry.Description) string {
	probe, applies := h.probes[d.Name]
	skipped := h.skipped[d.Name]
	switch {
	case !applies:
		return fmt.Sprintf("not for %s", h.platform)
	case d.Name == h.active:
		return "chosen here by default"
	case probe != nil:
		return "does not work here: " + reason(d.Name, probe)
	case errors.Is(skipped, registry.ErrOptIn):
		return "works here; " + skipped.Error()
	case len(d.Unmet([]registry.Requirement{registry.DefaultRequirement()})) > 0:
		return fmt.Sprintf("works here; promises less than the default minimum, %v", registry.DefaultRequirement())
	case h.active != "":
		return "works here; ranks below " + h.active
	}
	return "works here; not reached, because " + h.stopped + " failed"
}

// reason is the text of err on one line, without the name that it is shown with.
func reason(name string, err error) string {
	if err == nil {
		return ""
	}
	return registry.Skip{Name: name, Err: err}.Reason()
}
