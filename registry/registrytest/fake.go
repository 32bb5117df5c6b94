package registrytest

import (
	"cmp"
	"context"
	"errors"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// FakeName is the name of a Fake that has not been given one.
const FakeName = "any/fake"

// A Fake is a strategy for the tests of services. It starts commands plainly,
// keeps none of the promises that it declares, records what it was asked to
// start, and fails where it is told to. Its zero value applies on every platform
// and declares every guarantee, so that a service with any requirement takes it.
//
// Set the fields before its first use. A Fake is safe for concurrent use.
type Fake struct {
	// Name is the name to register under: FakeName unless it is set here or in
	// Description.
	Name string
	// Description is what to declare. Its zero fields take the defaults; give
	// Guarantees a length of zero, but not nil, to declare none.
	Description registry.Description
	// Cleanup is what is reported as in force: the target, unless set.
	Cleanup registry.Cleanup

	// Each of these, if not nil, is what the step of that name returns. A step
	// that fails does nothing, but for Close, which also ends what was started.
	ProbeErr, InstallErr, StartErr, WrapErr      error
	SignalErr, TerminateErr, KillErr, MembersErr error
	CloseErr                                     error

	mu                       sync.Mutex
	started, wrapped         []*exec.Cmd
	probes, installs, closes int
}

var (
	_ registry.Strategy = (*Fake)(nil)
	_ registry.Prober   = (*Fake)(nil)
	_ registry.Wrapper  = (*fakeInstallation)(nil)
)

// Registry returns a new registry with these strategies and no others. It
// panics where registering one fails, for example when two have the same name.
func Registry(strategies ...registry.Strategy) *registry.Registry {
	r := new(registry.Registry)
	for _, s := range strategies {
		r.MustRegister(s)
	}
	return r
}

// Describe returns Description with defaults in place of its zero fields.
func (f *Fake) Describe() registry.Description {
	d := f.Description.Clone()
	d.Name = cmp.Or(f.Name, d.Name, FakeName)
	d.Platform = cmp.Or(d.Platform, registry.PlatformAny)
	d.Summary = cmp.Or(d.Summary, "A fake for tests: starts backends plainly and keeps no promise.")
	d.Target = cmp.Or(d.Target, registry.CleanupUnsupportedNoop)
	if d.Guarantees == nil {
		for _, e := range registry.Events() {
			d.Guarantees = append(d.Guarantees, registry.Guarantee{
				Event: e, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second,
			})
		}
	}
	if d.Limits == nil {
		d.Limits = []string{"It is a fake: nothing of what it declares is kept."}
	}
	return d
}

// Target returns the target of Describe.
func (f *Fake) Target() registry.Cleanup { return f.Describe().Target }

// Probe returns ProbeErr.
func (f *Fake) Probe(ctx context.Context) error {
	f.count(&f.probes)
	return cmp.Or(ctx.Err(), f.offPlatform("probe"), f.ProbeErr)
}

// Install returns an installation, or InstallErr.
func (f *Fake) Install(ctx context.Context, _ registry.InstallOptions) (registry.Installation, error) {
	if err := cmp.Or(ctx.Err(), f.offPlatform("install"), f.InstallErr); err != nil {
		return nil, err
	}
	f.count(&f.installs)
	return &fakeInstallation{fake: f}, nil
}

func (f *Fake) offPlatform(op string) error {
	d := f.Describe()
	if d.Platform.Includes(registry.CurrentPlatform()) {
		return nil
	}
	return &registry.Error{Op: op, Strategy: d.Name, Err: errors.ErrUnsupported}
}

// Started returns the commands that were started, in order.
func (f *Fake) Started() []*exec.Cmd { return f.recorded(&f.started) }

// Wrapped returns the commands that were wrapped, in order.
func (f *Fake) Wrapped() []*exec.Cmd { return f.recorded(&f.wrapped) }

// Probes returns how often Probe was called.
func (f *Fake) Probes() int { return f.counted(&f.probes) }

// Installs returns how often Install succeeded.
func (f *Fake) Installs() int { return f.counted(&f.installs) }

// Closes returns how many installations were closed, each counted once.
func (f *Fake) Closes() int { return f.counted(&f.closes) }

// InForce returns how many installations have not been closed.
func (f *Fake) InForce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.installs - f.closes
}

func (f *Fake) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
}

func (f *Fake) counted(n *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *n
}

func (f *Fake) record(list *[]*exec.Cmd, cmd *exec.Cmd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, cmd)
}

func (f *Fake) recorded(list *[]*exec.Cmd) []*exec.Cmd {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(*list)
}
