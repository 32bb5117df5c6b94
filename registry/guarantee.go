package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Event is something after which processes are to be gone.
type Event string

// The events that guarantees speak of, in the order in which they rank.
const (
	// EventOwnerKilled: the owner is SIGKILLed, or ended by TerminateProcess.
	EventOwnerKilled Event = "owner-killed"
	// EventBothKilled: owner and supervisor are killed in the same instant.
	EventBothKilled Event = "both-killed"
	// EventSupervisorKilled: the supervisor is killed, the owner lives.
	EventSupervisorKilled Event = "supervisor-killed"
	// EventLeaderExit: the backend's first process exits, and the backend was
	// started with [LeaderExitKill].
	EventLeaderExit Event = "leader-exit"
	// EventOwnerExit: the owner exits, returns from main or panics.
	EventOwnerExit Event = "owner-exit"
)

// Events returns every event, in ranking order.
func Events() []Event {
	return []Event{EventOwnerKilled, EventBothKilled, EventSupervisorKilled, EventLeaderExit, EventOwnerExit}
}

// Reach says how much of a backend a guarantee covers.
type Reach string

// The reaches, weakest first.
const (
	// ReachChild: the backend's leader only.
	ReachChild Reach = "child"
	// ReachTree: all that descends from the leader, daemonised or not.
	ReachTree Reach = "tree"
)

func (r Reach) rank() int { return 1 + slices.Index([]Reach{ReachChild, ReachTree}, r) }

// Enforcer says who keeps a guarantee.
type Enforcer string

// The enforcers, weakest first.
const (
	// EnforcerAny is satisfied by every enforcer; it appears in requirements only.
	EnforcerAny Enforcer = ""
	// EnforcerSupervisor: another process of ours, which can itself be killed.
	EnforcerSupervisor Enforcer = "supervisor"
	// EnforcerKernel: the operating system, whatever becomes of our processes.
	EnforcerKernel Enforcer = "kernel"
)

func (e Enforcer) rank() int {
	return slices.Index([]Enforcer{EnforcerAny, EnforcerSupervisor, EnforcerKernel}, e)
}

// A Guarantee says: on Event, processes of Reach are gone within Within,
// enforced by Enforcer. It covers backends that were started through the
// installation, and the limits of the strategy's [Description] apply.
type Guarantee struct {
	Event    Event
	Reach    Reach
	Enforcer Enforcer
	// Within bounds the time from the event until the last process of that
	// reach has exited or is a zombie, on a host that schedules normally.
	Within time.Duration
}

type guaranteeJSON struct {
	Event    Event    `json:"event"`
	Reach    Reach    `json:"reach"`
	Enforcer Enforcer `json:"enforcer"`
	Within   string   `json:"within"`
}

// MarshalJSON writes the form that describe prints; Within is a Go duration such as "5s".
func (g Guarantee) MarshalJSON() ([]byte, error) {
	return json.Marshal(guaranteeJSON{g.Event, g.Reach, g.Enforcer, g.Within.String()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (g *Guarantee) UnmarshalJSON(b []byte) error {
	var j guaranteeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	within, err := time.ParseDuration(j.Within)
	if err != nil {
		return fmt.Errorf("guarantee %s: within: %w", j.Event, err)
	}
	*g = Guarantee{j.Event, j.Reach, j.Enforcer, within}
	return nil
}

// String returns EVENT=REACH/ENFORCER, the form that [ParseRequirement] reads.
func (g Guarantee) String() string {
	return fmt.Sprintf("%s=%s/%s", g.Event, g.Reach, g.Enforcer)
}

// A Requirement is the least that is asked for: a reach on an event, and
// optionally who must enforce it.
type Requirement struct {
	Event    Event
	Reach    Reach
	Enforcer Enforcer // EnforcerAny unless given
}

// DefaultRequirement is what a resolution demands when nothing else is asked
// for: when the owner is killed, the whole tree goes.
func DefaultRequirement() Requirement {
	return Requirement{Event: EventOwnerKilled, Reach: ReachTree}
}

// ParseRequirement reads EVENT=REACH[/ENFORCER], for example "owner-killed=tree"
// or "both-killed=tree/kernel".
func ParseRequirement(s string) (Requirement, error) {
	fail := func(what string) (Requirement, error) {
		return Requirement{}, fmt.Errorf("requirement %q: %s; want EVENT=REACH[/ENFORCER] with EVENT %s, REACH %s or %s, ENFORCER %s or %s",
			s, what, joinEvents(), ReachChild, ReachTree, EnforcerKernel, EnforcerSupervisor)
	}
	event, rest, ok := strings.Cut(s, "=")
	if !ok {
		return fail("no '='")
	}
	reach, enforcer, hasEnforcer := strings.Cut(rest, "/")
	r := Requirement{Event: Event(event), Reach: Reach(reach), Enforcer: Enforcer(enforcer)}
	switch {
	case !slices.Contains(Events(), r.Event):
		return fail(fmt.Sprintf("unknown event %q", event))
	case r.Reach.rank() == 0:
		return fail(fmt.Sprintf("unknown reach %q", reach))
	case hasEnforcer && r.Enforcer != EnforcerKernel && r.Enforcer != EnforcerSupervisor:
		return fail(fmt.Sprintf("unknown enforcer %q", enforcer))
	}
	return r, nil
}

func joinEvents() string {
	var names []string
	for _, e := range Events() {
		names = append(names, string(e))
	}
	return strings.Join(names, ", ")
}

// String returns the form that [ParseRequirement] reads.
func (r Requirement) String() string {
	s := string(r.Event) + "=" + string(r.Reach)
	if r.Enforcer != EnforcerAny {
		s += "/" + string(r.Enforcer)
	}
	return s
}

// MarshalText and UnmarshalText make a Requirement usable in configuration files and flags.
func (r Requirement) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Requirement) UnmarshalText(b []byte) error {
	parsed, err := ParseRequirement(string(b))
	if err == nil {
		*r = parsed
	}
	return err
}

// SatisfiedBy reports whether g is at least what r asks for. Tree satisfies
// child, and the kernel satisfies supervisor.
func (r Requirement) SatisfiedBy(g Guarantee) bool {
	return r.Event == g.Event && g.Reach.rank() >= r.Reach.rank() && g.Enforcer.rank() >= r.Enforcer.rank()
}
