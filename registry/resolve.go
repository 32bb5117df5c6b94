package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Wanted is what a resolution looks for. The zero value asks for
// [DefaultRequirement].
type Wanted struct {
	// Strategy names the one strategy to take, opt-in or not.
	Strategy string
	// Require lists what the strategy must declare. Opt-in strategies are
	// considered, after all others, if it is not empty.
	Require []Requirement
	// BestEffort takes the strongest strategy that works, whatever it declares
	// beyond Require, and passes over those that fail, except with ErrConflict.
	BestEffort bool
	// Try makes the attempt that decides whether a strategy works here; nil
	// means its Probe. It is given what Resolve returns if the attempt succeeds. An error
	// that wraps errors.ErrUnsupported passes on to the next; any other stops the
	// resolution unless BestEffort is set.
	Try func(ctx context.Context, r Resolution) error
}

// Minimum returns the requirements that bind: Require, or DefaultRequirement
// unless a strategy is named or BestEffort is set.
func (w Wanted) Minimum() []Requirement {
	if len(w.Require) == 0 && w.Strategy == "" && !w.BestEffort {
		return []Requirement{DefaultRequirement()}
	}
	return w.Require
}

// A Skip says why a strategy was not taken.
type Skip struct {
	Name string
	// Err is the reason; it never is nil.
	Err error
}

// String returns "NAME: reason" on one line.
func (s Skip) String() string { return s.Name + ": " + s.Reason() }

// Reason returns why, on one line and without repeating the name that an
// [*Error] of the strategy itself begins with.
func (s Skip) Reason() string {
	reason := strings.ReplaceAll(s.Err.Error(), "\n", "; ")
	if own, ok := strings.CutPrefix(reason, "contain: "+s.Name+": "); ok {
		return own
	}
	return reason
}

// A Resolution is the outcome of Resolve.
type Resolution struct {
	// Strategy is the choice.
	Strategy Strategy
	// Description is that of Strategy.
	Description Description
	// Skipped lists the candidates that rank above the choice and were not
	// taken; where there is no choice, all of them.
	Skipped []Skip
}

// These mark why a candidate was skipped without an attempt.
var (
	// ErrWeaker: the strategy declares less than what is required.
	ErrWeaker = errors.New("declares less than required")
	// ErrOptIn: the strategy has side effects and was neither named nor required.
	ErrOptIn = errors.New("opt-in: has side effects on the backend; name it or require what only it gives")
)

// NoStrategyError says that nothing qualified, with every reason. It wraps
// ErrNoStrategy and each reason.
type NoStrategyError struct {
	Platform Platform
	Minimum  []Requirement
	Skipped  []Skip
}

// Error returns one line with every reason and what to do.
func (e *NoStrategyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v qualifies on %s", ErrNoStrategy, e.Platform)
	for i, r := range e.Minimum {
		b.WriteString([]string{" for ", ", "}[min(i, 1)] + r.String())
	}
	for i, s := range e.Skipped {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + s.String())
	}
	if len(e.Skipped) == 0 {
		b.WriteString(": none is registered for it; import a strategy package, such as strategies/all")
	}
	return b.String()
}

// Unwrap returns ErrNoStrategy and the reasons.
func (e *NoStrategyError) Unwrap() []error {
	errs := []error{ErrNoStrategy}
	for _, s := range e.Skipped {
		errs = append(errs, s.Err)
	}
	return errs
}

// Resolve picks the strongest strategy for platform that meets w and works. It
// fails closed: what does not meet w.Minimum is never taken. On failure the
// error says why for every candidate, and the Resolution lists the same as data.
func (r *Registry) Resolve(ctx context.Context, platform Platform, w Wanted) (Resolution, error) {
	candidates, err := r.inOrder(platform, w)
	if err != nil {
		return Resolution{}, err
	}
	try := w.Try
	if try == nil {
		try = func(ctx context.Context, r Resolution) error { return Probe(ctx, r.Strategy) }
	}
	var skipped []Skip
	for _, e := range candidates {
		err := eligible(&e.d, w)
		if err == nil {
			res := Resolution{Strategy: e.Strategy, Description: e.Describe(),
				Skipped: slices.Concat(skipped, r.heldBack(platform, w, e))}
			if err = try(ctx, res); err == nil {
				return res, nil
			}
		}
		skipped = append(skipped, Skip{Name: e.d.Name, Err: err})
		attempted := !errors.Is(err, ErrWeaker) && !errors.Is(err, ErrOptIn)
		passOver := w.BestEffort && !errors.Is(err, ErrConflict) || errors.Is(err, errors.ErrUnsupported)
		if attempted && !passOver {
			break
		}
	}
	return Resolution{Skipped: skipped}, &Error{Op: "resolve", Err: &NoStrategyError{Platform: platform, Minimum: w.Minimum(), Skipped: skipped}}
}

// inOrder returns the candidates in the order in which they are to be tried: by
// rank, and opt-in strategies last.
func (r *Registry) inOrder(platform Platform, w Wanted) ([]*entry, error) {
	if w.Strategy != "" {
		e, err := r.lookup(w.Strategy)
		return []*entry{e}, err
	}
	var plain, optIn []*entry
	for _, e := range r.candidates(platform) {
		if e.d.OptIn && len(w.Require) > 0 {
			optIn = append(optIn, e)
		} else {
			plain = append(plain, e)
		}
	}
	return append(plain, optIn...), nil
}

// heldBack lists the opt-in strategies that rank above chosen but were never
// tried, because a strategy without side effects meets what is required.
func (r *Registry) heldBack(platform Platform, w Wanted, chosen *entry) []Skip {
	if chosen.d.OptIn || w.Strategy != "" || len(w.Require) == 0 {
		return nil
	}
	var skips []Skip
	for _, e := range r.candidates(platform) {
		if e == chosen {
			break
		}
		if e.d.OptIn {
			skips = append(skips, Skip{Name: e.d.Name, Err: cmp.Or(eligible(&e.d, w), ErrOptIn)})
		}
	}
	return skips
}

// eligible says why d is out of the question without trying it, or nil.
func eligible(d *Description, w Wanted) error {
	if unmet := d.Unmet(w.Minimum()); len(unmet) > 0 {
		words := make([]string, len(unmet))
		for i, u := range unmet {
			words[i] = u.String()
		}
		return fmt.Errorf("%w (%s)", ErrWeaker, strings.Join(words, ", "))
	}
	if d.OptIn && w.Strategy == "" && len(w.Require) == 0 {
		return ErrOptIn
	}
	return nil
}

// Probe reports whether s would work on this host: what its Probe says, or nil
// if it is no [Prober].
func Probe(ctx context.Context, s Strategy) error {
	if p, ok := s.(Prober); ok {
		return p.Probe(ctx)
	}
	return ctx.Err()
}
