package app_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-multierror"
	"go.uber.org/fx"

	"github.com/seed329817d7/contain/app"
	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func TestModuleAlone(t *testing.T) {
	fake := new(registrytest.Fake)
	var log strings.Builder
	a := fx.New(app.Module, with(fake), fx.NopLogger, fx.Supply(slog.New(slog.NewTextHandler(&log, nil))))
	if fake.Installs() != 0 {
		t.Error("in force before OnStart")
	}
	mustStart(t, a)
	if fake.InForce() != 1 {
		t.Error("not in force, because nobody asked for it")
	}
	if !strings.Contains(log.String(), `msg="contain: in force" strategy=any/fake owner-killed=tree/kernel`) {
		t.Errorf("the graph's logger has: %s", &log)
	}
	if err := a.Stop(t.Context()); err != nil || fake.InForce() != 0 {
		t.Errorf("%v, %d in force after OnStop", err, fake.InForce())
	}
	// fx may start an application again.
	if err := a.Start(t.Context()); err != nil || fake.InForce() != 1 {
		t.Errorf("started again: %v, %d in force", err, fake.InForce())
	}
	if err := a.Stop(t.Context()); err != nil || fake.InForce() != 0 {
		t.Errorf("%v, %d in force in the end", err, fake.InForce())
	}
}

// TestListingDoesNotMatter: what takes the containment starts after it and stops
// before it, wherever the module is listed.
func TestListingDoesNotMatter(t *testing.T) {
	needProcesses(t)
	broker := fx.Options(fx.Provide(newBroker), fx.Invoke(func(*broker) {}))
	for what, listing := range map[string]fx.Option{
		"first":              fx.Options(app.Module, broker),
		"last":               fx.Options(broker, app.Module),
		"broker in a module": fx.Options(fx.Module("broker", broker), app.Module),
		"both in a module":   fx.Options(fx.Module("service", broker, app.Module)),
		"invoked before":     fx.Options(fx.Invoke(func(*app.Containment) {}), broker, app.Module),
	} {
		fake := new(registrytest.Fake)
		a := fx.New(listing, with(fake), fx.NopLogger, fx.Supply(app.Config{Logger: slog.New(slog.DiscardHandler)}))
		if err := a.Start(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if len(fake.Started()) != 1 {
			t.Errorf("%s: started %v", what, fake.Started())
		}
		if err := a.Stop(t.Context()); err != nil || fake.InForce() != 0 {
			t.Errorf("%s: %v, %d in force", what, err, fake.InForce())
		}
		for _, cmd := range fake.Started() {
			_ = cmd.Wait() // it has ended
		}
	}
}

func TestStopEndsTheBackends(t *testing.T) {
	needProcesses(t)
	fake := new(registrytest.Fake)
	var b *broker
	a := fx.New(service, with(fake), fx.Populate(&b))
	mustStart(t, a)
	if !slices.Equal(fake.Started(), []*exec.Cmd{b.cmd}) {
		t.Errorf("started %v", fake.Started())
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-b.backend.Done():
	default:
		t.Error("the backend is alive after OnStop")
	}
	_ = b.cmd.Wait()
	if _, err := b.c.Start(sleeper()); !errors.Is(err, app.ErrClosed) {
		t.Errorf("Start after OnStop: %v", err)
	}
}

func TestStartInAConstructor(t *testing.T) {
	fake := new(registrytest.Fake)
	a := fx.New(app.Module, with(fake), fx.NopLogger, fx.Invoke(func(c *app.Containment) error {
		_, err := c.Start(exec.Command("backend"))
		return err
	}))
	err := a.Err()
	if !errors.Is(err, app.ErrNotInstalled) || !strings.Contains(err.Error(), "start backends in OnStart") {
		t.Errorf("%v", err)
	}
	if fake.Installs()+len(fake.Started()) != 0 {
		t.Error("something is in force")
	}
}

// TestFailuresElsewhereLeaveNothing counts what is in force after each.
func TestFailuresElsewhereLeaveNothing(t *testing.T) {
	needProcesses(t)
	boom := errors.New("boom")
	fails := func(context.Context) error { return boom }
	for what, tt := range map[string]struct {
		other    fx.Option
		installs int
	}{
		"an Invoke":                   {other: fx.Invoke(func(*broker) error { return boom })},
		"an Invoke that comes first":  {other: fx.Invoke(func() error { return boom })},
		"a constructor":               {other: fx.Options(fx.Provide(func(*broker) (int, error) { return 0, boom }), fx.Invoke(func(int) {}))},
		"an OnStart after it":         {other: fx.Invoke(func(lc fx.Lifecycle, _ *broker) { lc.Append(fx.StartHook(fails)) }), installs: 1},
		"an OnStart listed before it": {other: fx.Module("other", fx.Invoke(func(lc fx.Lifecycle) { lc.Append(fx.StartHook(fails)) }))},
		// A child module's Invokes run before its parent's, so this hook comes after
		// ours although it is listed before; what has started by then is rolled back.
		"an OnStart of the parent": {other: fx.Invoke(func(lc fx.Lifecycle) { lc.Append(fx.StartHook(fails)) }), installs: 1},
	} {
		fake := new(registrytest.Fake)
		a := fx.New(tt.other, service, with(fake))
		err := a.Err()
		if err == nil {
			err = a.Start(t.Context())
		}
		if !errors.Is(err, boom) {
			t.Errorf("%s: %v", what, err)
		}
		if fake.Installs() != tt.installs || fake.InForce() != 0 {
			t.Errorf("%s: %d installs, %d in force", what, fake.Installs(), fake.InForce())
		}
		for _, cmd := range fake.Started() {
			_ = cmd.Wait() // it has ended, or the test does not
		}
	}
}

// TestOwnFailure: fx runs no OnStop for the hook that failed, and the causes come
// through it and multierror.
func TestOwnFailure(t *testing.T) {
	first := &registrytest.Fake{Name: "any/first", InstallErr: errors.ErrUnsupported}
	second := &registrytest.Fake{Name: "any/second", InstallErr: &registry.Error{Op: "install", Strategy: "any/second",
		Err: errors.Join(registry.ErrJobCreate, &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES})}}
	dependantRan := false
	a := fx.New(app.Module, with(first, second), fx.NopLogger, fx.Invoke(func(lc fx.Lifecycle, _ *app.Containment) {
		lc.Append(fx.StartHook(func() { dependantRan = true }))
	}))
	err := a.Start(t.Context())
	var (
		multi *multierror.Error
		errno syscall.Errno
	)
	if !errors.Is(err, app.ErrNoStrategy) || !errors.Is(err, registry.ErrJobCreate) || !errors.As(err, &multi) || !errors.As(err, &errno) {
		t.Errorf("%v", err)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %q", err)
	}
	if dependantRan || first.InForce()+second.InForce() != 0 {
		t.Error("something ran, or is in force")
	}
}

// TestStopComposesErrors, and reports before fx's deadline, or fx would say that
// it was exceeded and nothing else.
func TestStopComposesErrors(t *testing.T) {
	needProcesses(t)
	denied, boom := errors.New("denied"), errors.New("boom")
	fake := &registrytest.Fake{TerminateErr: denied, KillErr: denied, CloseErr: boom}
	var b *broker
	a := fx.New(service, with(fake), fx.Populate(&b))
	mustStart(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := a.Stop(ctx)
	for _, is := range []error{denied, boom, app.ErrLeft} {
		if !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}
	_ = b.cmd.Wait() // the fake's Close has killed it all the same
}

func TestStopHonoursTheDeadline(t *testing.T) {
	needProcesses(t)
	fake := &registrytest.Fake{TerminateErr: errors.New("deaf")} // nobody is asked, so the grace passes
	var b *broker
	a := fx.New(service, with(fake), fx.Populate(&b), fx.Supply(app.Config{Grace: time.Minute}))
	mustStart(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
	_ = b.cmd.Wait()
}

// TestDefaultTimeoutsFit: grace, killing and the report fit fx's default deadline.
func TestDefaultTimeoutsFit(t *testing.T) {
	if limit := fx.New(fx.NopLogger).StopTimeout(); limit <= containment.DefaultGrace+registry.SupervisorKillDeadline {
		t.Errorf("fx stops within %v by default", limit)
	}
}

func TestConfigAndLoggerAreOptional(t *testing.T) {
	weak := &registrytest.Fake{Name: "any/weak", Description: registry.Description{Guarantees: []registry.Guarantee{}}}
	strong := new(registrytest.Fake)
	own := registrytest.Registry(weak, strong)
	var log, other strings.Builder
	logger := func(b *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
	for what, tt := range map[string]struct {
		options fx.Option
		want    string
	}{
		"the default":            {fx.Options(with(weak, strong)), "any/fake"},
		"a config":               {fx.Options(with(weak, strong), fx.Supply(app.Config{Strategy: "any/weak"})), "any/weak"},
		"a config's registry":    {fx.Supply(app.Config{Registry: own, Strategy: "any/weak"}), "any/weak"},
		"fx.Replace beats that":  {fx.Options(with(strong), fx.Supply(app.Config{Registry: own})), "any/fake"},
		"a config's logger wins": {fx.Options(with(strong), fx.Supply(app.Config{Logger: logger(&log)}, logger(&other))), "any/fake"},
	} {
		var c *app.Containment
		a := fx.New(app.Module, fx.NopLogger, tt.options, fx.Populate(&c))
		mustStart(t, a)
		if c.Strategy() != tt.want {
			t.Errorf("%s: %q is in force, want %q", what, c.Strategy(), tt.want)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if log.Len() == 0 || other.Len() != 0 {
		t.Errorf("the config's logger has %q, the graph's %q", &log, &other)
	}
}

// TestRegistryIsAClone: what a service adds to its registry stays in its graph.
func TestRegistryIsAClone(t *testing.T) {
	const name = "any/only-in-the-graph"
	var r *registry.Registry
	a := fx.New(app.Module, fx.NopLogger, fx.Populate(&r), fx.Invoke(func(r *registry.Registry) error {
		return r.Register(&registrytest.Fake{Name: name})
	}))
	if a.Err() != nil {
		t.Fatal(a.Err())
	}
	if _, err := registry.Default().Lookup(name); err == nil {
		t.Error("it is in the default registry too")
	}
	if _, err := r.Lookup("noop/noop"); err != nil {
		t.Errorf("the strategies of this module are not there: %v", err)
	}
}

// TestDecorate: a service changes what it is given as it changes anything else in its graph.
func TestDecorate(t *testing.T) {
	weak := &registrytest.Fake{Name: "any/weak", Description: registry.Description{Guarantees: []registry.Guarantee{}}}
	for what, decorated := range map[string]fx.Option{
		"Config": fx.Options(fx.Supply(app.Config{}), with(new(registrytest.Fake), weak), fx.Decorate(func(cfg app.Config) app.Config {
			cfg.Strategy = "any/weak"
			return cfg
		})),
		"a registry": fx.Options(fx.Supply(app.Config{Strategy: "any/weak"}), fx.Decorate(func(r *registry.Registry) (*registry.Registry, error) {
			return r, r.Register(weak)
		})),
	} {
		var c *app.Containment
		a := fx.New(app.Module, fx.NopLogger, fx.Supply(slog.New(slog.DiscardHandler)), decorated, fx.Populate(&c))
		mustStart(t, a)
		if c.Strategy() != "any/weak" || weak.InForce() != 1 {
			t.Errorf("%s: %q is in force", what, c.Strategy())
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestScoped: beside the application's containment a module has one of its own, with what
// is provided in that module, wherever the two are listed.
func TestScoped(t *testing.T) {
	needProcesses(t)
	for _, last := range []bool{false, true} {
		fake, second := new(registrytest.Fake), &registrytest.Fake{Name: "any/second"}
		var outer, inner *broker
		options := []fx.Option{
			app.Module, fx.Provide(newBroker), fx.Populate(&outer), fx.NopLogger, fx.Supply(slog.New(slog.DiscardHandler)),
			fx.Supply(app.Config{Registry: registrytest.Registry(fake)}),
			fx.Module("plugins", app.Scoped,
				fx.Supply(app.Config{Strategy: "any/second"}, fx.Private), fx.Supply(registrytest.Registry(second), fx.Private),
				fx.Provide(newBroker, fx.Private), fx.Populate(&inner)),
		}
		if last {
			slices.Reverse(options)
		}
		a := fx.New(options...)
		mustStart(t, a)
		if len(fake.Started()) != 1 || len(second.Started()) != 1 || outer == inner {
			t.Errorf("the application's has started %v, the module's %v", fake.Started(), second.Started())
		}
		if err := a.Stop(t.Context()); err != nil || fake.InForce()+second.InForce() != 0 {
			t.Errorf("%v, %d and %d in force after OnStop", err, fake.InForce(), second.InForce())
		}
		for _, cmd := range append(fake.Started(), second.Started()...) {
			_ = cmd.Wait()
		}
	}
}

// TestReplaceInAScope: a test's fakes are in the place of the strategies there as well.
func TestReplaceInAScope(t *testing.T) {
	fake := new(registrytest.Fake)
	a := fx.New(app.Module, fx.Module("plugins", app.Scoped), with(fake), fx.NopLogger, fx.Supply(slog.New(slog.DiscardHandler)))
	mustStart(t, a)
	if fake.InForce() != 2 {
		t.Errorf("%d in force, want both", fake.InForce())
	}
	if err := a.Stop(t.Context()); err != nil || fake.InForce() != 0 {
		t.Errorf("%v, %d in force after OnStop", err, fake.InForce())
	}
}

// TestScopedAlone: without Module it is an application's only one, and takes the registry
// that is provided there.
func TestScopedAlone(t *testing.T) {
	fake := new(registrytest.Fake)
	a := fx.New(app.Scoped, fx.NopLogger, fx.Supply(slog.New(slog.DiscardHandler), registrytest.Registry(fake)))
	mustStart(t, a)
	if fake.InForce() != 1 {
		t.Error("not in force")
	}
	if err := a.Stop(t.Context()); err != nil || fake.InForce() != 0 {
		t.Errorf("%v, %d in force after OnStop", err, fake.InForce())
	}
}

// TestTwiceIsAnError: fx says so; nothing is in force twice by accident.
func TestTwiceIsAnError(t *testing.T) {
	if err := fx.New(app.Module, app.Module, fx.NopLogger).Err(); err == nil {
		t.Error("no error")
	}
}

// TestInstallWithoutFx is the same without a graph.
func TestInstallWithoutFx(t *testing.T) {
	needProcesses(t)
	kernel, err := app.ParseRequirement("owner-killed=tree/kernel")
	if err != nil {
		t.Fatal(err)
	}
	fake := new(registrytest.Fake)
	c, err := app.Install(t.Context(), app.Config{
		Registry: registrytest.Registry(fake), Require: []app.Requirement{kernel}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := sleeper()
	b, err := c.Start(cmd, app.OnLeaderExit(app.Leave))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-b.Done()
	_ = cmd.Wait()
}
