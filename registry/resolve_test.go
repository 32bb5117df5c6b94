package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// ladder is a registry like Linux's, strongest first: an opt-in strategy, one
// that may not work here, the default, a weak one, and none at all.
func ladder(t *testing.T, cgroup error) *registry.Registry {
	return registryOf(t,
		named("linux/pidns", "owner-killed=tree/kernel", "both-killed=tree/kernel").optIn(),
		named("linux/cgroup", "owner-killed=tree/supervisor", "both-killed=child/kernel", "leader-exit=tree/supervisor").fails(cgroup),
		named("linux/subreaper", "owner-killed=tree/supervisor", "both-killed=child/kernel"),
		named("linux/pdeathsig", "owner-killed=child/kernel"),
		named("noop/noop").with(func(d *registry.Description) { d.Platform = registry.PlatformAny }),
		named("windows/job", "owner-killed=tree/kernel").with(func(d *registry.Description) { d.Platform = registry.PlatformWindows }).
			fails(errors.ErrUnsupported),
	)
}

var (
	errNotHere = fmt.Errorf("cgroup2 is read-only here; use Delegate=yes: %w", errors.ErrUnsupported)
	errBroken  = &registry.Error{Op: "probe", Strategy: "linux/cgroup", Err: &fs.PathError{Op: "mkdir", Path: "/sys/fs/cgroup/x", Err: syscall.EIO}}
)

func require(t *testing.T, texts ...string) (rs []registry.Requirement) {
	t.Helper()
	for _, text := range texts {
		r, err := registry.ParseRequirement(text)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		what    string
		cgroup  error // what linux/cgroup's probe says
		wanted  registry.Wanted
		choice  string // "" for an error
		skipped []string
	}{
		{what: "the default", choice: "linux/cgroup", skipped: []string{"linux/pidns"}},
		{what: "the next one where the strongest does not work here", cgroup: errNotHere, choice: "linux/subreaper",
			skipped: []string{"linux/pidns", "linux/cgroup"}},
		{what: "stop at any other failure", cgroup: errBroken, skipped: []string{"linux/pidns", "linux/cgroup"}},
		{what: "best effort does not pass over another Install's choice", cgroup: fmt.Errorf("bind: %w", registry.ErrConflict),
			wanted: registry.Wanted{BestEffort: true}, skipped: []string{"linux/pidns", "linux/cgroup"}},
		{what: "best effort passes over failures", cgroup: errBroken, wanted: registry.Wanted{BestEffort: true}, choice: "linux/subreaper",
			skipped: []string{"linux/pidns", "linux/cgroup"}},
		{what: "by name, weaker than the default", wanted: registry.Wanted{Strategy: "linux/pdeathsig"}, choice: "linux/pdeathsig"},
		{what: "by name, nothing at all", wanted: registry.Wanted{Strategy: "noop/noop"}, choice: "noop/noop"},
		{what: "by name, opt-in", wanted: registry.Wanted{Strategy: "linux/pidns"}, choice: "linux/pidns"},
		{what: "by name, and it does not work here", cgroup: errNotHere, wanted: registry.Wanted{Strategy: "linux/cgroup"},
			skipped: []string{"linux/cgroup"}},
		{what: "by name, of another platform", wanted: registry.Wanted{Strategy: "windows/job"}, skipped: []string{"windows/job"}},
		{what: "by name, a requirement binds", wanted: registry.Wanted{Strategy: "linux/pdeathsig", Require: require(t, "owner-killed=tree")},
			skipped: []string{"linux/pdeathsig"}},
		{what: "by name, unknown", wanted: registry.Wanted{Strategy: "linux/nothing"}},
		{what: "required, without side effects", wanted: registry.Wanted{Require: require(t, "owner-killed=tree")}, choice: "linux/cgroup",
			skipped: []string{"linux/pidns"}},
		{what: "required, weaker than the default", cgroup: errNotHere, wanted: registry.Wanted{Require: require(t, "owner-killed=child")},
			choice: "linux/subreaper", skipped: []string{"linux/cgroup", "linux/pidns"}},
		{what: "required, only an opt-in has it", wanted: registry.Wanted{Require: require(t, "owner-killed=tree/kernel")}, choice: "linux/pidns",
			skipped: []string{"linux/cgroup", "linux/subreaper", "linux/pdeathsig", "noop/noop"}},
		{what: "required, every one of several", wanted: registry.Wanted{Require: require(t, "owner-killed=tree/kernel", "leader-exit=tree")},
			skipped: []string{"linux/cgroup", "linux/subreaper", "linux/pdeathsig", "noop/noop", "linux/pidns"}},
		{what: "required, and the best effort does not undo it", cgroup: errBroken,
			wanted:  registry.Wanted{BestEffort: true, Require: require(t, "leader-exit=tree")},
			skipped: []string{"linux/cgroup", "linux/subreaper", "linux/pdeathsig", "noop/noop", "linux/pidns"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			res, err := ladder(t, tt.cgroup).Resolve(t.Context(), registry.PlatformLinux, tt.wanted)
			if got := res.Description.Name; got != tt.choice || (err != nil) != (tt.choice == "") || (res.Strategy != nil) != (tt.choice != "") {
				t.Errorf("chosen: %q, %v; want %q", got, err, tt.choice)
			}
			if got := names(res.Skipped, skipName); !slices.Equal(got, tt.skipped) && len(got)+len(tt.skipped) > 0 {
				t.Errorf("skipped: %v, want %v", got, tt.skipped)
			}
			if err != nil && !errors.Is(err, registry.ErrNoStrategy) {
				t.Errorf("%v does not wrap ErrNoStrategy", err)
			}
			for _, s := range res.Skipped {
				if s.Err == nil || err != nil && !errors.Is(err, s.Err) {
					t.Errorf("%s: reason %v is not in the error", s.Name, s.Err)
				}
			}
		})
	}
}

func TestResolveFailsClosedWithNothingStrong(t *testing.T) {
	r := registryOf(t, named("linux/pdeathsig", "owner-killed=child/kernel"), named("linux/exit", "owner-exit=tree/kernel"))
	if res, err := r.Resolve(t.Context(), registry.PlatformLinux, registry.Wanted{}); err == nil {
		t.Errorf("took %s", res.Description.Name)
	}
	if res, err := r.Resolve(t.Context(), registry.PlatformLinux, registry.Wanted{BestEffort: true}); err != nil || res.Description.Name != "linux/pdeathsig" {
		t.Errorf("best effort: %q, %v", res.Description.Name, err)
	}
}

// TestResolveErrorIsOneLine has every reason, once, and what to do.
func TestResolveErrorIsOneLine(t *testing.T) {
	_, err := ladder(t, errBroken).Resolve(t.Context(), registry.PlatformLinux, registry.Wanted{Require: require(t, "owner-killed=tree/supervisor", "both-killed=child")})
	const want = "contain: resolve: no containment strategy qualifies on linux for owner-killed=tree/supervisor, both-killed=child: " +
		"linux/cgroup: probe: mkdir /sys/fs/cgroup/x: input/output error"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	var (
		none  *registry.NoStrategyError
		path  *fs.PathError
		errno syscall.Errno
	)
	if !errors.As(err, &none) || none.Platform != registry.PlatformLinux || !errors.As(err, &path) || !errors.As(err, &errno) || errno != syscall.EIO {
		t.Errorf("the causes of %v are out of reach", err)
	}

	_, err = ladder(t, errors.Join(errNotHere, errors.New("and more"))).Resolve(t.Context(), registry.PlatformLinux,
		registry.Wanted{Require: require(t, "leader-exit=tree")})
	text := err.Error()
	for _, reason := range []string{
		"linux/pidns: declares less than required (leader-exit=tree)",
		"linux/cgroup: cgroup2 is read-only here; use Delegate=yes: unsupported operation; and more",
		"noop/noop: declares less",
	} {
		if strings.Count(text, reason) != 1 {
			t.Errorf("%q is not once in %q", reason, text)
		}
	}
	if strings.Contains(text, "\n") || strings.Contains(text, "windows/job") {
		t.Errorf("not one line on linux: %q", text)
	}

	_, err = new(registry.Registry).Resolve(t.Context(), "plan9", registry.Wanted{})
	if err == nil || !strings.Contains(err.Error(), "on plan9 for owner-killed=tree: none is registered for it; import") {
		t.Errorf("with nothing registered: %v", err)
	}
}

func TestResolveTriesOnlyWhatQualifies(t *testing.T) {
	var tried []string
	boom := errors.New("boom")
	w := registry.Wanted{Try: func(_ context.Context, r registry.Resolution) error {
		tried = append(tried, strategyName(r.Strategy))
		if len(tried) < 2 {
			return fmt.Errorf("no: %w", errors.ErrUnsupported)
		}
		return boom
	}}
	_, err := ladder(t, nil).Resolve(t.Context(), registry.PlatformLinux, w)
	if !errors.Is(err, boom) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the errors of Try are not both in %v", err)
	}
	if want := []string{"linux/cgroup", "linux/subreaper"}; !slices.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}
	tried = nil
	w.BestEffort = true
	if _, err = ladder(t, nil).Resolve(t.Context(), registry.PlatformLinux, w); err == nil || len(tried) != 4 {
		t.Errorf("best effort tried %v, %v", tried, err)
	}
}

// TestResolveTellsTryTheOutcome: what Try is given is what Resolve then returns, with the
// strategies that are held back.
func TestResolveTellsTryTheOutcome(t *testing.T) {
	for what, w := range map[string]registry.Wanted{
		"default":     {},
		"required":    {Require: []registry.Requirement{{Event: registry.EventOwnerKilled, Reach: registry.ReachTree}}},
		"best effort": {BestEffort: true},
		"named":       {Strategy: "linux/subreaper"},
	} {
		var told registry.Resolution
		w.Try = func(_ context.Context, r registry.Resolution) error {
			told = r
			if r.Description.Name == "linux/cgroup" {
				return errors.ErrUnsupported
			}
			return nil
		}
		res, err := ladder(t, nil).Resolve(t.Context(), registry.PlatformLinux, w)
		if err != nil || len(res.Skipped) == 0 && what != "named" || !reflect.DeepEqual(told, res) {
			t.Errorf("%s: told %v, got %v, %v", what, told, res, err)
		}
	}
}

func TestResolvePlatformArgument(t *testing.T) {
	r := ladder(t, nil)
	attempt := func(context.Context, registry.Resolution) error { return nil }
	for platform, want := range map[registry.Platform]string{
		registry.PlatformLinux: "linux/cgroup", registry.PlatformWindows: "windows/job", registry.PlatformDarwin: "noop/noop", "js": "noop/noop",
	} {
		res, err := r.Resolve(t.Context(), platform, registry.Wanted{BestEffort: true, Try: attempt})
		if err != nil || res.Description.Name != want {
			t.Errorf("%s: %q, %v; want %q", platform, res.Description.Name, err, want)
		}
	}
}

func TestProbe(t *testing.T) {
	boom := errors.New("boom")
	if err := registry.Probe(t.Context(), named("linux/a").fails(boom)); err != boom {
		t.Errorf("a Prober's answer: %v", err)
	}
	unprobed := struct{ registry.Strategy }{named("linux/a").fails(boom)}
	if err := registry.Probe(t.Context(), unprobed); err != nil {
		t.Errorf("of a strategy that is no Prober: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := registryOf(t).Resolve(ctx, registry.PlatformLinux, registry.Wanted{}); !errors.Is(err, registry.ErrNoStrategy) {
		t.Errorf("%v", err)
	}
	if err := registry.Probe(ctx, unprobed); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}
