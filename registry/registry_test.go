package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

func TestRegisterRefuses(t *testing.T) {
	for _, tt := range []struct {
		what string
		s    registry.Strategy
		want error
	}{
		{"nil", nil, registry.ErrInvalid},
		{"a nil pointer", (*stub)(nil), registry.ErrInvalid},
		{"no name", named(""), registry.ErrInvalid},
		{"no platform", named("/pdeathsig"), registry.ErrInvalid},
		{"no mechanism", named("linux/"), registry.ErrInvalid},
		{"no slash", named("pdeathsig"), registry.ErrInvalid},
		{"two slashes", named("linux/a/b"), registry.ErrInvalid},
		{"no vendor", named("linux/.b"), registry.ErrInvalid},
		{"two dots", named("linux/a.b.c"), registry.ErrInvalid},
		{"upper case", named("linux/PdeathSig"), registry.ErrInvalid},
		{"a space", named("linux/a b"), registry.ErrInvalid},
		{"a line end", named("linux/a\n"), registry.ErrInvalid},
		{"a taken name", named("linux/taken"), registry.ErrDuplicate},
	} {
		t.Run(tt.what, func(t *testing.T) {
			first := named("linux/taken")
			r := registryOf(t, first)
			err := r.Register(tt.s)
			var typed *registry.Error
			if !errors.Is(err, tt.want) || !errors.As(err, &typed) || typed.Op != "register" {
				t.Errorf("Register: %v, want %v in a *registry.Error", err, tt.want)
			}
			if got, _ := r.Lookup("linux/taken"); got != registry.Strategy(first) || len(r.All()) != 1 {
				t.Error("a refused registration changed the registry")
			}
			defer func() {
				if recover() == nil {
					t.Error("MustRegister did not panic")
				}
			}()
			r.MustRegister(tt.s)
		})
	}
}

func TestRegisterAccepts(t *testing.T) {
	r := registryOf(t, named("linux/cgroup"), named("linux/acme.cgroup-2"), named("noop/noop"), named("freebsd/procctl"))
	want := []string{"freebsd/procctl", "linux/acme.cgroup-2", "linux/cgroup", "noop/noop"}
	if got := names(r.All(), strategyName); !slices.Equal(got, want) {
		t.Errorf("All: %v, want %v", got, want)
	}
	all := r.All()
	clear(all)
	if r.All()[0] == nil {
		t.Error("All hands out the registry's own slice")
	}
}

func TestLookupNamesWhatIsRegistered(t *testing.T) {
	s := named("linux/b")
	r := registryOf(t, s, named("linux/a"))
	if got, err := r.Lookup("linux/b"); err != nil || got != registry.Strategy(s) {
		t.Errorf("Lookup: %v, %v", got, err)
	}
	for want, r := range map[string]*registry.Registry{
		`contain: look up "linux/c": no containment strategy of that name; registered: linux/a, linux/b`: r,
		`contain: look up "linux/c": no containment strategy of that name; registered: nothing; ` +
			`import a strategy package, such as strategies/all`: new(registry.Registry),
	} {
		s, err := r.Lookup("linux/c")
		if s != nil || !errors.Is(err, registry.ErrNoStrategy) || err.Error() != want {
			t.Errorf("Lookup: %v, %v\nwant %s", s, err, want)
		}
	}
}

func TestCloneIsIndependent(t *testing.T) {
	original := registryOf(t, named("linux/a"))
	clone := original.Clone()
	clone.MustRegister(named("linux/b"))
	original.MustRegister(named("linux/c"))
	if o, c := names(original.All(), strategyName), names(clone.All(), strategyName); !slices.Equal(o, []string{"linux/a", "linux/c"}) ||
		!slices.Equal(c, []string{"linux/a", "linux/b"}) {
		t.Errorf("original %v, clone %v", o, c)
	}
	new(registry.Registry).Clone().MustRegister(named("linux/a")) // a clone of nothing is usable
}

// TestRanking gives the order for each rule. Every permutation of the
// registrations must lead to it.
func TestRanking(t *testing.T) {
	slower := func(s *stub) *stub {
		return s.with(func(d *registry.Description) { d.Guarantees[0].Within *= 2 })
	}
	preferred := func(s *stub, p int) *stub {
		return s.with(func(d *registry.Description) { d.Preference = p })
	}
	anywhere := func(s *stub) *stub {
		return s.with(func(d *registry.Description) { d.Platform = registry.PlatformAny })
	}
	elsewhere := func(s *stub) *stub {
		return s.with(func(d *registry.Description) { d.Platform = registry.PlatformWindows })
	}
	for _, tt := range []struct {
		what string
		want []*stub // in the order wanted
		omit []*stub
	}{
		{what: "reach before enforcer", want: []*stub{
			named("linux/b", "owner-killed=tree/supervisor"), named("linux/a", "owner-killed=child/kernel")}},
		{what: "enforcer before time", want: []*stub{
			slower(named("linux/b", "owner-killed=tree/kernel")), named("linux/a", "owner-killed=tree/supervisor")}},
		{what: "time before the next event", want: []*stub{
			named("linux/b", "owner-killed=tree/kernel"), slower(named("linux/a", "owner-killed=tree/kernel", "both-killed=tree/kernel"))}},
		{what: "events in their order", want: []*stub{
			named("linux/e", "both-killed=child/kernel"),
			named("linux/d", "supervisor-killed=tree/kernel"),
			named("linux/c", "leader-exit=tree/kernel"),
			named("linux/b", "owner-exit=tree/kernel"),
			named("linux/a")}},
		{what: "preference", want: []*stub{
			preferred(named("linux/c"), 1), named("linux/b"), preferred(named("linux/a"), -1)}},
		{what: "a guarantee before a preference", want: []*stub{
			named("linux/b", "owner-exit=child/supervisor"), preferred(named("linux/a"), 100)}},
		{what: "built-ins before third parties", want: []*stub{
			named("linux/z"), named("linux/acme.a")}},
		{what: "a third party's preference", want: []*stub{
			preferred(named("linux/acme.a"), 1), named("linux/z")}},
		{what: "a third party's guarantee", want: []*stub{
			named("linux/acme.a", "owner-killed=tree/kernel"), named("linux/z", "owner-killed=tree/supervisor")}},
		{what: "name", want: []*stub{named("linux/a"), named("linux/b"), named("linux/c")}},
		{what: "opt-in is ranked like any other", want: []*stub{
			named("linux/b", "owner-killed=tree/kernel").optIn(), named("linux/a", "owner-killed=tree/supervisor")}},
		{what: "other platforms are left out", want: []*stub{
			named("linux/b"), anywhere(named("noop/noop"))},
			omit: []*stub{elsewhere(named("windows/job", "owner-killed=tree/kernel"))}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			want := names(tt.want, func(s *stub) string { return s.d.Name })
			permute(slices.Concat(tt.want, tt.omit), func(order []*stub) {
				got := names(registryOf(t, order...).Candidates(registry.PlatformLinux), strategyName)
				if !slices.Equal(got, want) {
					t.Fatalf("registered as %v: got %v, want %v", names(order, func(s *stub) string { return s.d.Name }), got, want)
				}
			})
		})
	}
}

func permute[E any](list []E, visit func([]E)) {
	var rec func(n int)
	rec = func(n int) {
		if n == len(list) {
			visit(list)
			return
		}
		for i := n; i < len(list); i++ {
			list[n], list[i] = list[i], list[n]
			rec(n + 1)
			list[n], list[i] = list[i], list[n]
		}
	}
	rec(0)
}

func TestTargetForEveryPlatform(t *testing.T) {
	on := func(p registry.Platform, target registry.Cleanup, s *stub) *stub {
		return s.with(func(d *registry.Description) { d.Platform, d.Target = p, target })
	}
	r := registryOf(t,
		on(registry.PlatformLinux, registry.CleanupLinuxParentDeathSignal, named("linux/subreaper", "owner-killed=tree/supervisor")),
		on(registry.PlatformLinux, "side-effects", named("linux/pidns", "owner-killed=tree/kernel")).optIn(),
		on(registry.PlatformWindows, registry.CleanupWindowsKillOnJobClose, named("windows/job", "owner-killed=tree/kernel")),
		on(registry.PlatformDarwin, registry.CleanupMacOSKqueueSupervisorContract, named("darwin/kqueue", "owner-killed=tree/supervisor")),
		on(registry.PlatformAny, registry.CleanupUnsupportedNoop, named("noop/noop")),
	)
	for platform, want := range map[registry.Platform]registry.Cleanup{
		registry.PlatformLinux:   registry.CleanupLinuxParentDeathSignal,
		registry.PlatformWindows: registry.CleanupWindowsKillOnJobClose,
		registry.PlatformDarwin:  registry.CleanupMacOSKqueueSupervisorContract,
		"freebsd":                registry.CleanupUnsupportedNoop,
		"js":                     registry.CleanupUnsupportedNoop,
		"":                       registry.CleanupUnsupportedNoop,
	} {
		if got := r.Target(platform); got != want {
			t.Errorf("Target(%q) = %q, want %q", platform, got, want)
		}
		if got := new(registry.Registry).Target(platform); got != registry.CleanupUnsupportedNoop {
			t.Errorf("Target(%q) of an empty registry = %q", platform, got)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	r := new(registry.Registry)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				name := fmt.Sprintf("linux/s%d-%d", i, j)
				if err := r.Register(named(name)); err != nil {
					t.Error(err)
				}
				if err := r.Register(named("linux/the-same")); err != nil && !errors.Is(err, registry.ErrDuplicate) {
					t.Error(err)
				}
				if _, err := r.Lookup(name); err != nil {
					t.Error(err)
				}
				r.Clone().MustRegister(named("linux/other"))
				_, _, _ = r.All(), r.Candidates(registry.PlatformLinux), r.Target(registry.PlatformLinux)
				if _, err := r.Resolve(t.Context(), registry.PlatformLinux, registry.Wanted{BestEffort: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.All()); n != 8*20+1 {
		t.Errorf("%d strategies are registered, want %d", n, 8*20+1)
	}
}

func TestDefaultIsOne(t *testing.T) {
	if first := registry.Default(); first == nil || first != registry.Default() {
		t.Error("Default is not one registry")
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	for want, err := range map[string]*registry.Error{
		"contain: linux/a: install: cause": {Op: "install", Strategy: "linux/a", Err: cause},
		"contain: install: cause":          {Op: "install", Err: cause},
	} {
		if err.Error() != want || !errors.Is(err, cause) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
