package registry

import (
	"encoding/json"
	"time"
)

// SupervisorKillDeadline bounds the time from the moment a supervisor learns
// that its broker is gone until the tree below it is gone.
const SupervisorKillDeadline = 5 * time.Second

// Mechanism is how a supervisor watches the broker.
type Mechanism string

// The mechanisms of the supervisors in this module.
const (
	// MechanismKqueue: kevent(2) with EVFILT_PROC, on macOS.
	MechanismKqueue Mechanism = "kqueue"
	// MechanismPidfd: a file descriptor that refers to a process and polls
	// readable when it exits, pidfd_open(2), on Linux.
	MechanismPidfd Mechanism = "pidfd"
)

// Signal is a signal number that is the same on every Unix.
type Signal int

// SigKill cannot be caught, signal(7).
const SigKill Signal = 9

// String returns the signal's name.
func (s Signal) String() string {
	if s == SigKill {
		return "SIGKILL"
	}
	return ""
}

// The fixed words of the contract.
const (
	// WatchBrokerParent: the watched process is the broker, the supervisor's parent.
	WatchBrokerParent = "broker-parent"
	// BarrierBeforePublication: the watch is registered before the backend's
	// endpoint can be published: Start returns after it.
	BarrierBeforePublication = "before-backend-pipe-publication"
	// RaceGuardRecheck: after registering, the supervisor checks once more that
	// the broker is alive.
	RaceGuardRecheck = "recheck-broker-alive-after-registration"
)

// A SupervisorContract is what a supervisor promises its broker (the owner). It
// is metadata and behaviour at once: supervisors read their mechanism, signal
// and deadline from this value, so the two cannot drift apart.
type SupervisorContract struct {
	Mechanism    Mechanism
	Watch        string
	Filter       string // of kevent(2), by its name in <sys/event.h>; empty unless Mechanism is MechanismKqueue
	Note         string // likewise
	Barrier      string
	RaceGuard    string
	Signal       Signal
	KillDeadline time.Duration
}

// BrokerContract returns the contract as macOS keeps it: kqueue, EVFILT_PROC, NOTE_EXIT.
func BrokerContract() SupervisorContract {
	return SupervisorContract{
		Mechanism:    MechanismKqueue,
		Watch:        WatchBrokerParent,
		Filter:       "EVFILT_PROC",
		Note:         "NOTE_EXIT",
		Barrier:      BarrierBeforePublication,
		RaceGuard:    RaceGuardRecheck,
		Signal:       SigKill,
		KillDeadline: SupervisorKillDeadline,
	}
}

// PidfdContract returns the same contract as Linux keeps it: a pidfd, which has
// neither filter nor note.
func PidfdContract() SupervisorContract {
	c := BrokerContract()
	c.Mechanism, c.Filter, c.Note = MechanismPidfd, "", ""
	return c
}

// FilterName returns "EVFILT_PROC", or "" where the mechanism has no filter.
func (c SupervisorContract) FilterName() string { return c.Filter }

// NoteName returns "NOTE_EXIT", or "" where the mechanism has no note.
func (c SupervisorContract) NoteName() string { return c.Note }

// SignalName returns "SIGKILL".
func (c SupervisorContract) SignalName() string { return c.Signal.String() }

type contractJSON struct {
	Mechanism    Mechanism `json:"mechanism"`
	Watch        string    `json:"watch"`
	Filter       string    `json:"filter,omitempty"`
	Note         string    `json:"note,omitempty"`
	Barrier      string    `json:"barrier"`
	RaceGuard    string    `json:"raceGuard"`
	Signal       string    `json:"signal"`
	KillDeadline string    `json:"killDeadline"`
}

// MarshalJSON writes the contract with names in place of numbers; filter and
// note are absent where the mechanism has none.
func (c SupervisorContract) MarshalJSON() ([]byte, error) {
	return json.Marshal(contractJSON{
		c.Mechanism, c.Watch, c.FilterName(), c.NoteName(), c.Barrier, c.RaceGuard, c.SignalName(), c.KillDeadline.String(),
	})
}
