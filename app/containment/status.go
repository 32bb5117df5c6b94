package containment

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

// State is where a [Containment] is in its life.
type State string

// The states.
const (
	// StateNew: not in force yet.
	StateNew State = "new"
	// StateInForce: backends can be started.
	StateInForce State = "in-force"
	// StateClosed: closed; effects on the process itself stay, see Status.Cleanup.
	StateClosed State = "closed"
)

// Status is what is in force in this process, in the types of contain describe's JSON.
type Status struct {
	Schema   int               `json:"schema"` // 1
	Platform registry.Platform `json:"platform"`
	State    State             `json:"state"`
	// Strategy is the name of the strategy in force, "" unless State is StateInForce.
	Strategy string `json:"strategy"`
	// Cleanup is what binds this process.
	Cleanup registry.Cleanup `json:"cleanup"`
	// Guarantees and Limits are those of Strategy.
	Guarantees []registry.Guarantee `json:"guarantees"`
	Limits     []string             `json:"limits"`
	// Supervisor is the contract of the strategy's supervisor, nil where there is none.
	Supervisor *registry.SupervisorContract `json:"supervisor,omitempty"`
	// SupervisorWay is how the supervisors of Strategy begin: "entry", before the Go runtime,
	// or "first-init"; "" where there is no choice.
	SupervisorWay string `json:"supervisorWay,omitempty"`
	// Skipped says why nothing better is in force.
	Skipped []Skipped `json:"skipped"`
	// Backends is how many backends are not known to be gone.
	Backends int `json:"backends"`
}

// Skipped is a strategy that ranks above the one in force, and why it is not.
type Skipped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Status returns what is in force, in memory that the caller owns.
func (c *Containment) Status() Status {
	s, state := c.current()
	st := Status{
		Schema: 1, Platform: registry.CurrentPlatform(), State: state, Cleanup: cleanup(s),
		Guarantees: []registry.Guarantee{}, Limits: []string{}, Skipped: []Skipped{},
	}
	if s == nil {
		return st
	}
	s.mu.Lock()
	st.Backends = len(s.backends)
	s.mu.Unlock()
	if state != StateInForce {
		return st
	}
	d := s.res.Description.Clone()
	st.Strategy, st.Supervisor = d.Name, d.Supervisor
	st.SupervisorWay = supervisorWay(s.in)
	st.Guarantees = append(st.Guarantees, d.Guarantees...)
	st.Limits = append(st.Limits, d.Limits...)
	for _, skip := range s.res.Skipped {
		st.Skipped = append(st.Skipped, Skipped{skip.Name, skip.Reason()})
	}
	return st
}

// Cleanup returns what binds this process. It stays in force after Close.
func (c *Containment) Cleanup() registry.Cleanup {
	s, _ := c.current()
	return cleanup(s)
}

func cleanup(s *session) registry.Cleanup {
	if s == nil {
		return registry.CleanupUnsupportedNoop
	}
	return s.in.Cleanup()
}

// Strategy returns the name of the strategy in force, "" if none is.
func (c *Containment) Strategy() string {
	if s, state := c.current(); state == StateInForce {
		return s.name()
	}
	return ""
}

// Skipped returns the strategies that rank above the one in force and why each
// was not taken, with the error itself.
func (c *Containment) Skipped() []registry.Skip {
	if s, state := c.current(); state == StateInForce {
		return slices.Clone(s.res.Skipped)
	}
	return nil
}

func supervisorWay(in registry.Installation) string {
	if s, ok := in.(registry.Supervised); ok {
		return s.SupervisorWay()
	}
	return ""
}

// announce writes the one line about what is in force.
func (c Config) announce(ctx context.Context, res registry.Resolution, in registry.Installation) {
	attrs := []slog.Attr{slog.String("strategy", res.Description.Name)}
	for _, e := range []registry.Event{registry.EventOwnerKilled, registry.EventBothKilled} {
		attrs = append(attrs, slog.String(string(e), level(res.Description, e)))
	}
	if way := supervisorWay(in); way != "" {
		attrs = append(attrs, slog.String("supervisor", way))
	}
	if len(res.Skipped) > 0 {
		words := make([]string, len(res.Skipped))
		for i, s := range res.Skipped {
			words[i] = s.String()
		}
		attrs = append(attrs, slog.String("skipped", strings.Join(words, "; ")))
	}
	urgency := slog.LevelInfo
	if weak(res.Description) {
		urgency = slog.LevelWarn
	}
	c.logger().LogAttrs(ctx, urgency, "contain: in force", attrs...)
}

// weak reports whether d declares less than is demanded by default.
func weak(d registry.Description) bool {
	return len(d.Unmet([]registry.Requirement{registry.DefaultRequirement()})) > 0
}

// level returns REACH/ENFORCER, or "none".
func level(d registry.Description, e registry.Event) string {
	g, ok := d.Guarantee(e)
	if !ok {
		return "none"
	}
	return string(g.Reach) + "/" + string(g.Enforcer)
}
