package app

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
)

// Module puts a containment in force for the life of an fx application. List it
// once; where does not matter. See [Scoped] for a second one.
//
// It takes a [Config] and a *slog.Logger if the application provides them, and so heeds an
// fx.Decorate of either. It provides the *registry.Registry to choose from, which is
// Config.Registry or else a clone of the default one, and the *[Containment]. It asks for
// the latter itself, so that it is in force even when nobody else does. It installs it in
// OnStart, before the OnStart of whatever takes it as a parameter, and closes it in
// OnStop, after theirs, within fx's deadline. What starts backends must take it as
// a parameter and start them in OnStart, not in a constructor.
//
// A service has a strategy of its own in Config.Registry, or adds it by
//
//	fx.Decorate(func(r *registry.Registry) (*registry.Registry, error) { return r, r.Register(mine) })
//
// A test puts fakes in place of the strategies, and changes nothing else, by
//
//	fx.Replace(registrytest.Registry(fakes...))
var Module = fx.Module("contain",
	fx.Provide(newRegistry, newContainment),
	fx.Invoke(func(*Containment) {}),
)

// Scoped is Module for one fx.Module, with a containment that only that module and those
// inside of it see: a service that treats some of its backends otherwise than the rest has
// both. It takes what is private to the same module, and what is missing there from the
// application:
//
//	fx.Module("plugins", app.Scoped, fx.Supply(app.Config{Grace: time.Minute}, fx.Private), fx.Provide(newPlugins))
//
// It provides no registry. It chooses from Config.Registry, else from the graph's, else from
// the default one.
var Scoped = fx.Options(
	fx.Provide(newScoped, fx.Private),
	fx.Invoke(func(*Containment) {}),
)

type registryParams struct {
	fx.In

	Config Config `optional:"true"`
}

func newRegistry(p registryParams) *registry.Registry {
	if p.Config.Registry != nil {
		return p.Config.Registry
	}
	return registry.Default().Clone()
}

type containmentParams struct {
	fx.In

	Lifecycle fx.Lifecycle
	Registry  *registry.Registry `optional:"true"`
	Config    Config             `optional:"true"`
	Logger    *slog.Logger       `optional:"true"`
}

func newContainment(p containmentParams) *Containment {
	p.Config.Registry = p.Registry // the graph's, so that fx.Replace works
	return p.containment()
}

func newScoped(p containmentParams) *Containment {
	if p.Config.Registry == nil {
		p.Config.Registry = p.Registry
	}
	return p.containment()
}

// containment appends its hook before any dependant can append one, because a
// dependant's constructor runs after this: so fx's hooks are in the right order.
func (p containmentParams) containment() *Containment {
	if p.Config.Logger == nil {
		p.Config.Logger = p.Logger
	}
	c := containment.New(p.Config)
	p.Lifecycle.Append(fx.Hook{OnStart: c.Install, OnStop: c.Close})
	return c
}
