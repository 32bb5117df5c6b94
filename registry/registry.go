package registry

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A Registry holds strategies by name. The zero value is empty and ready to
// use; a Registry is safe for concurrent use and must not be copied after first use.
type Registry struct {
	mu     sync.RWMutex
	byName map[string]*entry
}

// entry is a registered strategy with its description, which is the same at every
// call. A description is large and made anew each time, so the registry keeps its
// own to choose by, and hands out none of it.
type entry struct {
	Strategy
	d Description
}

var defaultRegistry Registry

// Default returns the registry that strategies register themselves in from init.
func Default() *Registry { return &defaultRegistry }

// Register adds s. The error wraps ErrInvalid or ErrDuplicate.
func (r *Registry) Register(s Strategy) error {
	fail := func(name string, err error) error {
		return &Error{Op: "register", Strategy: name, Err: err}
	}
	if v := reflect.ValueOf(s); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return fail("", fmt.Errorf("%w: it is nil", ErrInvalid))
	}
	d := s.Describe()
	if err := validName(d.Name); err != nil {
		return fail(d.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.byName[d.Name]; taken {
		return fail(d.Name, ErrDuplicate)
	}
	if r.byName == nil {
		r.byName = make(map[string]*entry)
	}
	r.byName[d.Name] = &entry{s, d}
	return nil
}

// validName reports whether name is platform/mechanism or platform/vendor.mechanism
// in lower-case letters, digits and hyphens.
func validName(name string) error {
	platform, mechanism, ok := strings.Cut(name, "/")
	words := append([]string{platform}, strings.Split(mechanism, ".")...)
	ok = ok && len(words) <= 3
	for _, w := range words {
		ok = ok && w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	}
	if !ok {
		return fmt.Errorf("%w: name %q is not platform/mechanism or platform/vendor.mechanism in a-z, 0-9 and '-'", ErrInvalid, name)
	}
	return nil
}

// MustRegister is Register for init functions: it panics on an error.
func (r *Registry) MustRegister(s Strategy) {
	if err := r.Register(s); err != nil {
		panic(err)
	}
}

// Lookup returns the strategy with that name. The error wraps ErrNoStrategy and
// names what is registered.
func (r *Registry) Lookup(name string) (Strategy, error) {
	e, err := r.lookup(name)
	if err != nil {
		return nil, err
	}
	return e.Strategy, nil
}

func (r *Registry) lookup(name string) (*entry, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e, ok := r.byName[name]; ok {
		return e, nil
	}
	known := slices.Sorted(maps.Keys(r.byName))
	if len(known) == 0 {
		known = []string{"nothing; import a strategy package, such as strategies/all"}
	}
	return nil, &Error{Op: "look up " + fmt.Sprintf("%q", name),
		Err: fmt.Errorf("%w of that name; registered: %s", ErrNoStrategy, strings.Join(known, ", "))}
}

// All returns every strategy, sorted by name, in a slice that the caller owns.
func (r *Registry) All() []Strategy {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Strategy, 0, len(r.byName))
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		all = append(all, r.byName[name].Strategy)
	}
	return all
}

// Clone returns a registry with the same strategies, to add to without
// changing r.
func (r *Registry) Clone() *Registry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return &Registry{byName: maps.Clone(r.byName)}
}

// Candidates returns the strategies that apply on platform, strongest first:
// by reach, then enforcer, then time, for each event in the order of [Events];
// then by preference, built-ins before third parties, and name. The order never
// depends on the order of registration. Opt-in strategies are in it.
func (r *Registry) Candidates(platform Platform) []Strategy {
	entries := r.candidates(platform)
	out := make([]Strategy, len(entries))
	for i, e := range entries {
		out[i] = e.Strategy
	}
	return out
}

func (r *Registry) candidates(platform Platform) []*entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var es []*entry
	for _, e := range r.byName {
		if e.d.Platform.Includes(platform) {
			es = append(es, e)
		}
	}
	slices.SortFunc(es, func(a, b *entry) int { return compare(&a.d, &b.d) })
	return es
}

// compare orders the stronger description first.
func compare(a, b *Description) int {
	for _, e := range Events() {
		ga, _ := a.Guarantee(e)
		gb, _ := b.Guarantee(e)
		if c := cmp.Or(
			cmp.Compare(gb.Reach.rank(), ga.Reach.rank()),
			cmp.Compare(gb.Enforcer.rank(), ga.Enforcer.rank()),
			cmp.Compare(ga.Within, gb.Within),
		); c != 0 {
			return c
		}
	}
	return cmp.Or(
		cmp.Compare(b.Preference, a.Preference),
		cmp.Compare(thirdParty(a), thirdParty(b)),
		strings.Compare(a.Name, b.Name),
	)
}

func thirdParty(d *Description) int { return strings.Count(d.Name, ".") }

// Target returns the cleanup that platform attempts: that of its strongest
// strategy that is not opt-in. It is answerable for every platform on every
// platform; where nothing applies it is CleanupUnsupportedNoop.
func (r *Registry) Target(platform Platform) Cleanup {
	for _, e := range r.candidates(platform) {
		if !e.d.OptIn {
			return e.Target()
		}
	}
	return CleanupUnsupportedNoop
}
