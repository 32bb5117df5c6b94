// Package containmenttest is for the tests of a service: a containment that lives as
// long as a test, and fails it if a process would not end or was left behind.
//
// Import it in tests only. The default registry has the strategies that the test
// binary imports; package app and strategies/all have all of them.
package containmenttest

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// A Containment is a [containment.Containment] for one test. It is safe for concurrent use.
type Containment struct {
	*containment.Containment
	allowForced bool

	mu       sync.Mutex
	backends []*backend
}

type backend struct {
	*containment.Backend
	name string
}

// An Option changes what New does.
type Option func(*options)

type options struct {
	cfg         containment.Config
	allowForced bool
	fake        *registrytest.Fake
}

// WithConfig gives the configuration. Its zero value is the default, but for
// OutliveParent, which New always sets: the test binary stays as it is.
func WithConfig(cfg containment.Config) Option { return func(o *options) { o.cfg = cfg } }

// AllowForced lets the test pass although a process had to be killed at its end.
// That one is left behind never passes.
func AllowForced() Option { return func(o *options) { o.allowForced = true } }

// WithFake puts a fake in the place of every strategy: nothing is in force, commands
// are started plainly, and the test can let calls fail.
func WithFake(fake *registrytest.Fake) Option { return func(o *options) { o.fake = fake } }

// New returns a containment that is in force until the test and its subtests are over.
// Then it asks what was started through it to end, as [containment.Containment.Close]
// does, and fails the test if a process had to be killed, unless AllowForced is given,
// or is left. If no strategy qualifies, the test fails at once.
func New(t testing.TB, opts ...Option) *Containment {
	t.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	o.cfg.OutliveParent = true
	if o.cfg.Logger == nil {
		o.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if o.fake != nil {
		o.cfg.Registry, o.cfg.Strategy = registrytest.Registry(o.fake), ""
	}
	in, err := containment.Install(context.Background(), o.cfg)
	if err != nil {
		t.Fatalf("containmenttest: %v", err)
	}
	c := &Containment{Containment: in, allowForced: o.allowForced}
	t.Cleanup(func() { c.end(t) })
	return c
}

// Start is [containment.Containment.Start] for a command that is to be gone when the
// test is over.
func (c *Containment) Start(cmd *exec.Cmd, opts ...containment.StartOption) (*containment.Backend, error) {
	b, err := c.Containment.Start(cmd, opts...)
	return c.remember(cmd, b, err)
}

// Wrap is [containment.Containment.Wrap] in the same way.
func (c *Containment) Wrap(cmd *exec.Cmd, opts ...containment.StartOption) (*containment.Backend, error) {
	b, err := c.Containment.Wrap(cmd, opts...)
	return c.remember(cmd, b, err)
}

func (c *Containment) remember(cmd *exec.Cmd, b *containment.Backend, err error) (*containment.Backend, error) {
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backends = append(c.backends, &backend{b, cmd.String()})
	return b, nil
}

// end stops the backends in the order in which they were started, the last one first,
// as Cleanup and defer do, and closes the containment.
func (c *Containment) end(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	backends := c.backends
	c.mu.Unlock()
	for i := len(backends) - 1; i >= 0; i-- {
		b := backends[i]
		report, err := b.Stop(context.Background())
		if err != nil {
			t.Errorf("containmenttest: %s: %v", b.name, err)
		}
		if len(report.Forced) > 0 && !c.allowForced {
			t.Errorf("containmenttest: %s had to be killed: %s", b.name, list(report.Forced))
		}
	}
	if err := c.Close(context.Background()); err != nil {
		t.Errorf("containmenttest: %v", err)
	}
}

func list(members []registry.Member) string {
	var names []string
	for _, m := range members {
		names = append(names, fmt.Sprintf("%q (pid %d)", m.Name, m.PID))
	}
	return strings.Join(names, ", ")
}
