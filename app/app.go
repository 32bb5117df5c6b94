package app

import (
	"context"
	"os"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"

	_ "github.com/seed329817d7/contain/strategies/all" // so that its users need one import
)

// These are the types of packages containment and registry.
type (
	// Config says what is to be in force; the zero value is the default.
	Config = containment.Config
	// Containment is a strategy in force in this process, and its backends.
	Containment = containment.Containment
	// Backend is a command that was started through a Containment.
	Backend = containment.Backend
	// StartOption changes how one backend is treated.
	StartOption = containment.StartOption
	// Report says how a backend was stopped.
	Report = containment.Report
	// Status is what is in force in this process.
	Status = containment.Status
	// BackendStatus is what is known of one backend.
	BackendStatus = containment.BackendStatus
	// Event is something that happened to a Containment, see Config.OnEvent.
	Event = containment.Event
	// Stats are counts for a scrape.
	Stats = containment.Stats
	// Requirement is the least that is asked for on an event.
	Requirement = registry.Requirement
)

// What becomes of a backend's other processes when its leader exits, see [OnLeaderExit].
const (
	// Kill ends them; the default.
	Kill = containment.Kill
	// Wait lets them run for as long as the owner lives.
	Wait = containment.Wait
	// Leave lets them go.
	Leave = containment.Leave
	// Term asks them to end, and ends by force what is alive after the grace.
	Term = containment.Term
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotInstalled: a backend was started before the containment was in force.
	ErrNotInstalled = containment.ErrNotInstalled
	// ErrClosed: a backend was started after Close.
	ErrClosed = registry.ErrClosed
	// ErrLeft: processes are alive although they were ordered to end.
	ErrLeft = containment.ErrLeft
	// ErrNoStrategy: nothing qualifies.
	ErrNoStrategy = registry.ErrNoStrategy
)

// Install puts the strategy that cfg asks for in force, for services without fx;
// see [containment.Install].
func Install(ctx context.Context, cfg Config) (*Containment, error) {
	return containment.Install(ctx, cfg)
}

// OnLeaderExit says what becomes of a backend's other processes when its leader exits.
func OnLeaderExit(what registry.LeaderExit) StartOption { return containment.OnLeaderExit(what) }

// Grace is how long the backend may take to end; see [containment.Grace].
func Grace(d time.Duration) StartOption { return containment.Grace(d) }

// Label names the backend for people; see [containment.Label].
func Label(name string) StartOption { return containment.Label(name) }

// StopSignal is what the leader is sent first; see [containment.StopSignal].
func StopSignal(sig os.Signal) StartOption { return containment.StopSignal(sig) }

// Breakaway starts a command outside of containment, for one that is meant to
// live on; see [containment.Breakaway].
func Breakaway() StartOption { return containment.Breakaway() }

// ParseRequirement reads EVENT=REACH[/ENFORCER], for Config.Require.
func ParseRequirement(s string) (Requirement, error) { return registry.ParseRequirement(s) }
