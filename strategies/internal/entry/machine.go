package entry

// LeaderExit says what becomes of the rest when the leader exits. The values
// are those of registry.LeaderExit, which this package does not import: it is
// the first of the module to be initialised, see init in ways_linux.go.
type LeaderExit uint8

// The choices.
const (
	LeaderExitKill LeaderExit = iota
	LeaderExitWait
	LeaderExitLeave
)

// Machine decides what a supervisor does next. It is the same on every
// platform: what differs is how events are noticed and how processes are killed.
//
// It is pure, allocates nothing and never grows the stack, because on Linux it
// runs in a process that has no Go runtime, see program.
type Machine struct {
	OnLeaderExit LeaderExit
	state        state
}

type state uint8

const (
	running state = iota // the leader lives
	waiting              // the leader has exited, the rest may live on (LeaderExitWait)
	killing              // the end of the tree was ordered
	done
)

// Event is something that a supervisor noticed.
type Event uint8

// The events.
const (
	// EndAsked: the owner is about to ask every process to end, so from here on none
	// is let go.
	EndAsked Event = iota
	// OwnerGone: the watched process exited, or its lifeline was closed.
	OwnerGone
	// ProxyGone: the process that the owner knows as the backend was killed.
	ProxyGone
	// StopOrdered: the owner asked for the tree to be ended.
	StopOrdered
	// LeaderExited: the backend's first process ended.
	LeaderExited
	// LeaderSIGKILLed: the same, by SIGKILL.
	LeaderSIGKILLed
	// Empty: no process is left below the supervisor.
	Empty
	// DeadlinePassed: the kill deadline of the contract is over and processes are left.
	DeadlinePassed
)

// Action is a set of things to do, in the order of the bits.
type Action uint8

// The actions.
const (
	// Kill: send the contract's signal to everything until nothing is left, and
	// start the clock of the kill deadline.
	Kill Action = 1 << iota
	// Mirror: let the proxy end as the leader did.
	Mirror
	// Report: tell the owner that nothing is left.
	Report
	// ReportLate: tell the owner that the deadline passed with processes left.
	ReportLate
	// Exit: the supervisor's work is done.
	Exit
)

// Step takes one event and returns what to do.
//
//go:nosplit
//go:norace
func (m *Machine) Step(e Event) Action {
	switch m.state {
	case running:
		switch e {
		case EndAsked:
			if m.OnLeaderExit == LeaderExitLeave {
				m.OnLeaderExit = LeaderExitWait
			}
		case OwnerGone, ProxyGone, StopOrdered:
			m.state = killing
			return Kill
		case LeaderExited, LeaderSIGKILLed:
			if m.OnLeaderExit == LeaderExitLeave {
				m.state = done
				return Mirror | Report | Exit
			}
			// A leader that was SIGKILLed takes its tree along: whoever kills the
			// process that he knows means all of it.
			if m.OnLeaderExit == LeaderExitWait && e == LeaderExited {
				m.state = waiting
				return Mirror
			}
			m.state = killing
			return Kill
		}
	case waiting:
		switch e {
		case OwnerGone, StopOrdered: // the proxy has gone by itself
			m.state = killing
			return Kill
		case Empty:
			m.state = done
			return Report | Exit
		}
	case killing:
		switch e {
		case Empty:
			m.state = done
			return Mirror | Report | Exit
		case DeadlinePassed:
			return Mirror | ReportLate
		}
	}
	return 0
}
