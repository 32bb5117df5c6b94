package registry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// stub is a strategy that is nothing but its description. (registrytest.Fake
// would do, but these tests are about descriptions only.)
type stub struct {
	d   registry.Description
	try error
}

func (s *stub) Describe() registry.Description { return s.d.Clone() }
func (s *stub) Target() registry.Cleanup       { return s.d.Target }
func (s *stub) Probe(context.Context) error    { return s.try }
func (s *stub) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, errors.ErrUnsupported
}

// named returns a strategy for linux with the given guarantees ("owner-killed=tree/kernel").
func named(name string, guarantees ...string) *stub {
	s := &stub{d: registry.Description{Name: name, Platform: registry.PlatformLinux, Target: registry.Cleanup("target-of-" + name)}}
	for _, text := range guarantees {
		r, err := registry.ParseRequirement(text)
		if err != nil {
			panic(err)
		}
		s.d.Guarantees = append(s.d.Guarantees, registry.Guarantee{Event: r.Event, Reach: r.Reach, Enforcer: r.Enforcer, Within: time.Second})
	}
	return s
}

func (s *stub) with(change func(d *registry.Description)) *stub {
	change(&s.d)
	return s
}

func (s *stub) optIn() *stub {
	return s.with(func(d *registry.Description) { d.OptIn = true })
}

func (s *stub) fails(err error) *stub {
	s.try = err
	return s
}

func registryOf(t testing.TB, strategies ...*stub) *registry.Registry {
	t.Helper()
	r := new(registry.Registry)
	for _, s := range strategies {
		if err := r.Register(s); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func names[S ~[]E, E any](list S, name func(E) string) []string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, name(e))
	}
	return out
}

func strategyName(s registry.Strategy) string { return s.Describe().Name }
func skipName(s registry.Skip) string         { return s.Name }
