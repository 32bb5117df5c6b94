package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"

	"go.uber.org/fx"

	"github.com/seed329817d7/contain/app"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// Plugins is a part of a service that starts one backend. It takes the
// containment as a parameter, and starts in OnStart.
type Plugins struct{ backend *app.Backend }

// NewPlugins is its constructor.
func NewPlugins(lc fx.Lifecycle, c *app.Containment) *Plugins {
	p := new(Plugins)
	lc.Append(fx.StartHook(func() (err error) {
		p.backend, err = c.Start(pluginCommand())
		return err
	}))
	return p
}

// pluginCommand stands for any command.
func pluginCommand() *exec.Cmd { return sleeper() }

// ServiceModule is what the service's main uses: one module more than without
// containment.
var ServiceModule = fx.Options(
	app.Module,
	fx.Provide(NewPlugins),
	fx.Invoke(func(*Plugins) {}),
)

// A service's test puts a fake in place of the strategies and changes nothing else.
func Example() {
	fake := new(registrytest.Fake)
	service := fx.New(
		ServiceModule,
		fx.Replace(registrytest.Registry(fake)), // this line only in the test
		fx.Supply(slog.New(slog.DiscardHandler)),
		fx.NopLogger,
	)
	ctx := context.Background()
	if err := service.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("started:", len(fake.Started()))
	if err := service.Stop(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println("in force:", fake.InForce())
	for _, cmd := range fake.Started() {
		_ = cmd.Wait()
	}
	// Output:
	// started: 1
	// in force: 0
}

// A Config in the graph asks for more than the default.
func ExampleConfig() {
	kernel, err := app.ParseRequirement("owner-killed=tree/kernel")
	if err != nil {
		fmt.Println(err)
		return
	}
	var c *app.Containment
	service := fx.New(
		app.Module,
		fx.Supply(app.Config{Require: []app.Requirement{kernel}, OutliveParent: true}),
		fx.Replace(registrytest.Registry(new(registrytest.Fake))),
		fx.Supply(slog.New(slog.DiscardHandler)),
		fx.NopLogger,
		fx.Populate(&c),
	)
	ctx := context.Background()
	if err := service.Start(ctx); err != nil {
		fmt.Println(err) // on one line, why each strategy does not qualify
		return
	}
	defer service.Stop(ctx)
	for _, g := range c.Status().Guarantees[:2] {
		fmt.Println(c.Strategy(), g)
	}
	// Output:
	// any/fake owner-killed=tree/kernel
	// any/fake both-killed=tree/kernel
}
