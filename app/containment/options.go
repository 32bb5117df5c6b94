package containment

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A StartOption changes how one backend is treated.
type StartOption func(*startOptions)

// startOptions are the choices for one backend: the strategy's, and those that are
// this package's own.
type startOptions struct {
	registry.StartOptions
	label      string
	stopSignal os.Signal
}

// What becomes of a backend's other processes when its leader exits, see
// [OnLeaderExit].
const (
	// Kill ends them; the default.
	Kill = registry.LeaderExitKill
	// Wait lets them run for as long as the owner lives.
	Wait = registry.LeaderExitWait
	// Leave lets them go.
	Leave = registry.LeaderExitLeave
	// Term asks them to end, by SIGTERM, and ends what is alive after the grace by force.
	// linux/cgroup and linux/subreaper can; the others refuse the start.
	Term = registry.LeaderExitTerm
)

// OnLeaderExit says what becomes of a backend's other processes when its leader
// exits: Kill, Wait, Leave or Term.
func OnLeaderExit(what registry.LeaderExit) StartOption {
	return func(o *startOptions) { o.OnLeaderExit = what }
}

// Breakaway starts a command that is meant to live on outside of containment:
// it outlives this process, and Close and [Backend.Stop] leave it alone. Done is
// closed from the beginning. It is never done silently: where the strategy, or
// a job that encloses this process, does not allow it, Start fails, with an
// error that wraps errors.ErrUnsupported, and nothing runs. Only windows/job
// can do it (CREATE_BREAKAWAY_FROM_JOB).
func Breakaway() StartOption {
	return func(o *startOptions) { o.Breakaway = true }
}

// Grace is how long the backend may take to end once it was asked to, before it is
// killed, in place of [Config].Grace. It must be positive.
func Grace(d time.Duration) StartOption {
	return func(o *startOptions) { o.StartOptions.Grace = d }
}

// Label names the backend for people, in [BackendStatus], [Event] and the log. Labels
// need not differ.
func Label(name string) StartOption {
	return func(o *startOptions) { o.label = name }
}

// StopSignal is what [Backend.Stop] and Close send first, in place of SIGTERM to every
// process of the backend: to the leader alone, which is to see to the rest (PostgreSQL shuts down
// fast for SIGINT, nginx in order for SIGQUIT). Once the leader has gone, SIGTERM is sent to
// those that are left. What is alive after the grace is killed as ever. It cannot be had
// with OnLeaderExit(Leave): what a stopped leader leaves would be let go unseen.
func StopSignal(sig os.Signal) StartOption {
	return func(o *startOptions) { o.stopSignal = sig }
}

// contradiction says what is wrong with o, or nil.
func (o *startOptions) contradiction() error {
	switch {
	case o.OnLeaderExit < Kill || o.OnLeaderExit > Term:
		return fmt.Errorf("OnLeaderExit(%d) is none of Kill, Wait, Leave and Term", int(o.OnLeaderExit))
	case o.StartOptions.Grace <= 0:
		return fmt.Errorf("Grace(%v): give a positive time, or leave it out for Config.Grace", o.StartOptions.Grace)
	case o.stopSignal != nil && o.OnLeaderExit == Leave:
		return errors.New("StopSignal and OnLeaderExit(Leave) contradict each other: what the leader leaves would be let go before Stop can end it")
	}
	return nil
}
