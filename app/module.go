package app

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
)

// Module puts a containment in force for the life of an fx application. List it
// once; where does not matter.
//
// It takes a [Config] and a *slog.Logger if the application provides them. It
// provides the *registry.Registry to choose from, which is Config.Registry or else
// a clone of the default one, and the *[Containment]; and it asks for the latter
// itself, so that it is in force even when nobody else does. It is installed in
// OnStart, before the OnStart of whatever takes it as a parameter, and closed in
// OnStop, after theirs, within fx's deadline. What starts backends must take it as
// a parameter and start them in OnStart, not in a constructor.
//
// A test puts fakes in place of the strategies, and changes nothing else, by
//
//	fx.Replace(registrytest.Registry(fakes...))
var Module = fx.Module("contain",
	fx.Provide(newRegistry, newContainment),
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
	Registry  *registry.Registry
	Config    Config       `optional:"true"`
	Logger    *slog.Logger `optional:"true"`
}

// newContainment appends its hook before any dependant can append one, because a
// dependant's constructor runs after this: so fx's hooks are in the right order.
func newContainment(p containmentParams) *Containment {
	cfg := p.Config
	cfg.Registry = p.Registry // the graph's, so that fx.Replace works
	if cfg.Logger == nil {
		cfg.Logger = p.Logger
	}
	c := containment.New(cfg)
	p.Lifecycle.Append(fx.Hook{OnStart: c.Install, OnStop: c.Close})
	return c
}
