package containment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// DefaultGrace is the grace of a Config that sets none.
const DefaultGrace = 5 * time.Second

// Config says what is to be in force. The zero value is the default: the
// strongest strategy that works here without side effects on backends, and at
// least owner-killed=tree.
type Config struct {
	// Strategy names the one strategy to use, such as "linux/subreaper".
	Strategy string
	// Require lists what the strategy must declare, in place of owner-killed=tree.
	Require []registry.Requirement
	// BestEffort takes the strongest strategy that works, even one that
	// guarantees nothing. What Require lists still binds.
	BestEffort bool
	// Grace is how long a backend that was asked to end may take before it is
	// killed; 0 means DefaultGrace. A context's deadline shortens it, so that there
	// is time left to kill and to report.
	Grace time.Duration
	// OutliveParent leaves this process unbound from its own parent. That is a choice
	// for the whole process: another Install that has made the other one, or makes it
	// while this one is in force, fails with registry.ErrConflict. All other fields
	// are each Install's own.
	OutliveParent bool
	// DieWithParent ends this process, and so every backend, when its parent
	// process ends, as the function [DieWithParent] does: by SIGTERM, or on Windows by
	// termination with exit code 1, without a chance to clean up. Linux strategies bind by
	// default, so it only asks that they have. It stays in force after Close. Where the
	// parent cannot be watched, and together with OutliveParent, Install fails.
	DieWithParent bool
	// Supervisor is the path of an installed contain command to be used as the
	// supervisor, in place of this executable started again.
	Supervisor string
	// Logger gets one line that says what is in force, and one for each [Event], at the level that
	// its [EventKind] names: of a service in which all goes well the one is all that is
	// seen above slog.LevelDebug. nil means slog.Default().
	Logger *slog.Logger
	// OnEvent, if not nil, is called for each [Event], in their order and one at a time, in
	// another goroutine than that in which they happen. Close waits until it has been
	// called for all, so it must not call Close, nor Install.
	OnEvent func(Event)
	// Registry holds the strategies to choose from; nil means registry.Default().
	Registry *registry.Registry

	helperReplaced func(error)
}

func (c Config) grace() time.Duration {
	if c.Grace == 0 {
		return DefaultGrace
	}
	return c.Grace
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

func (c Config) registry() *registry.Registry {
	if c.Registry == nil {
		return registry.Default()
	}
	return c.Registry
}

func (c Config) installOptions() registry.InstallOptions {
	return registry.InstallOptions{OutliveParent: c.OutliveParent, Supervisor: c.Supervisor, HelperReplaced: c.helperReplaced}
}

// resolve picks a strategy by trying.
func (c Config) resolve(ctx context.Context, try func(context.Context, registry.Resolution) error) (registry.Resolution, error) {
	if err := ctx.Err(); err != nil {
		return registry.Resolution{}, &registry.Error{Op: "install", Err: err}
	}
	if c.Grace < 0 {
		return registry.Resolution{}, &registry.Error{Op: "install", Err: fmt.Errorf("Config.Grace is %v; give 0 for the default or a positive time", c.Grace)}
	}
	if c.DieWithParent && c.OutliveParent {
		return registry.Resolution{}, &registry.Error{Op: "install", Err: errors.New("Config.DieWithParent and Config.OutliveParent contradict each other; set one")}
	}
	if c.OutliveParent && boundToParent() {
		return registry.Resolution{}, &registry.Error{Op: "install", Err: fmt.Errorf("%w: it ends with its parent since an earlier Install, for good (Config.DieWithParent); do not set Config.OutliveParent", registry.ErrConflict)}
	}
	res, err := c.registry().Resolve(ctx, registry.CurrentPlatform(), registry.Wanted{
		Strategy: c.Strategy, Require: c.Require, BestEffort: c.BestEffort,
		Try: func(ctx context.Context, r registry.Resolution) error {
			if err := ctx.Err(); err != nil { // the strategies that follow a cancelled one are not to be tried
				return err
			}
			return try(ctx, r)
		},
	})
	return res, unresolved(err)
}

// install resolves by the real thing: what Install says is the probe.
func (c Config) install(ctx context.Context, events *events) (*session, error) {
	var in registry.Installation
	res, err := c.resolve(ctx, func(ctx context.Context, r registry.Resolution) (err error) {
		c := c
		c.helperReplaced = func(err error) {
			events.happened(Event{Kind: EventHelperReplaced, Strategy: r.Description.Name, Err: err})
		}
		in, err = c.attempt(ctx, r.Strategy)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := c.bindToParent(in.Cleanup()); err != nil {
		return nil, compose(err, in.Close(context.WithoutCancel(ctx)))
	}
	c.announce(ctx, res, in)
	for _, skip := range res.Skipped {
		events.happened(Event{Kind: EventSkipped, Strategy: skip.Name, Err: skip.Err})
	}
	events.happened(Event{Kind: EventInstalled, Strategy: res.Description.Name})
	return newSession(c, events, res, in), nil
}

// bindToParent sees to DieWithParent; bound is what the strategy has done.
func (c Config) bindToParent(bound registry.Cleanup) error {
	if !c.DieWithParent || bound == registry.CleanupLinuxParentDeathSignal {
		return nil
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.watchesParent {
		return nil
	}
	if err := DieWithParent(context.Background(), ParentOptions{}); err != nil {
		return err
	}
	process.watchesParent = true
	return nil
}

// process is all that this package has in force for this process as a whole. What a
// strategy has is its own to know.
var process struct {
	mu            sync.Mutex
	watchesParent bool // and ends with it, for good, see Config.DieWithParent
}

func boundToParent() bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.watchesParent
}

var errNoInstallation = errors.New("Install returned no installation and no error")

// attempt leaves nothing in force if it fails, nor if ctx ended meanwhile: its
// caller has given up then and would not close what it never got.
func (c Config) attempt(ctx context.Context, s registry.Strategy) (registry.Installation, error) {
	in, err := s.Install(ctx, c.installOptions())
	switch {
	case err != nil:
		return nil, err
	case in == nil:
		return nil, errNoInstallation
	case ctx.Err() != nil:
		return nil, compose(ctx.Err(), in.Close(context.WithoutCancel(ctx)))
	}
	return in, nil
}
