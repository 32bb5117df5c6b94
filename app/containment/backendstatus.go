package containment

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// BackendState is where a [Backend] is in its life.
type BackendState string

// The states.
const (
	// BackendPending: it was wrapped and is not known to have been started.
	BackendPending BackendState = "pending"
	// BackendRunning: the leader runs.
	BackendRunning BackendState = "running"
	// BackendLeaderExited: the leader has exited, and others are left or being ended. Strategies
	// that cannot tell go from running to ended.
	BackendLeaderExited BackendState = "leader-exited"
	// BackendEnded: nothing is left, or what is left was let go.
	BackendEnded BackendState = "ended"
)

// EndReason is why a [Backend] ended.
type EndReason string

// The reasons.
const (
	// EndLeaderExit: its leader exited by itself, or by a signal that was not this package's.
	EndLeaderExit EndReason = "leader-exit"
	// EndStopped: it was asked to end, by Stop or Close, and did.
	EndStopped EndReason = "stopped"
	// EndForced: it was killed after the grace.
	EndForced EndReason = "forced"
	// EndReleased: it was let go on purpose, and may be alive.
	EndReleased EndReason = "released"
)

// BackendStatus is what is known of one backend at a moment.
type BackendStatus struct {
	Label    string    `json:"label,omitempty"`
	Command  string    `json:"command"`
	Strategy string    `json:"strategy"`
	Started  time.Time `json:"started"` // of a wrapped command: when it was wrapped
	// LeaderPID is 0 while State is BackendPending, and where it is not known. It is for people
	// to read.
	LeaderPID int               `json:"leaderPid"`
	State     BackendState      `json:"state"`
	Members   []registry.Member `json:"members"`
	// Exit is how the leader ended, once that is known.
	Exit *registry.ExitState `json:"exit,omitempty"`
	// Reason is why it ended, "" before.
	Reason EndReason `json:"reason,omitempty"`
	// Error says why Members could not be listed.
	Error string `json:"error,omitempty"`
}

// Backends returns those of the latest Install that are not known to be gone, in the
// order in which they were started.
func (c *Containment) Backends() []*Backend {
	s, _ := c.current()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	live := make([]*Backend, 0, len(s.backends))
	for b := range s.backends {
		live = append(live, b)
	}
	slices.SortFunc(live, func(a, b *Backend) int { return cmp.Compare(a.number, b.number) })
	return live
}

// Status returns what is known of the backend now, in memory that the caller owns.
func (b *Backend) Status() BackendStatus {
	st := BackendStatus{
		Label: b.label, Command: b.path, Strategy: b.strategy, Started: b.begun,
		LeaderPID: b.PID(), State: b.state(), Members: []registry.Member{},
	}
	if st.State == BackendEnded {
		st.Reason = b.reason()
	} else if members, err := b.proc.Members(); err != nil {
		st.Error = err.Error()
	} else {
		st.Members = append(st.Members, members...)
	}
	if st.State == BackendLeaderExited || st.State == BackendEnded {
		st.Exit = b.knownExit()
	}
	return st
}

func (b *Backend) state() BackendState {
	switch {
	case b.gone():
		return BackendEnded
	case b.pending():
		return BackendPending
	case b.leaderGone():
		return BackendLeaderExited
	}
	return BackendRunning
}

func (b *Backend) reason() EndReason {
	if r, ok := b.proc.(registry.Releaser); ok && r.Released() {
		return EndReleased
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.killed:
		return EndForced
	case b.asked:
		return EndStopped
	}
	return EndLeaderExit
}

// knownExit returns how the leader ended, nil if that is not known, or not without
// looking at a command that is another goroutine's to wait for.
func (b *Backend) knownExit() *registry.ExitState {
	if _, ok := b.proc.(registry.ExitReporter); !ok {
		return nil
	}
	if state, err := b.ExitState(); err == nil {
		return &state
	}
	return nil
}

// settled returns a channel that is closed when a wrapped command has been started or never will
// be, or, where the strategy cannot tell, when its leader has exited.
func (b *Backend) settled() <-chan struct{} {
	if w, ok := b.proc.(registry.Wrapped); ok {
		return w.Settled()
	}
	return b.leaderExited()
}

// pending reports whether it was wrapped and is not known to have been started.
func (b *Backend) pending() bool {
	if b.cmd != nil {
		return false
	}
	if w, ok := b.proc.(registry.Wrapped); ok {
		return !w.Started()
	}
	return b.proc.PID() == 0
}

// leaderExited returns a channel that is closed when the leader has exited, or, where the
// strategy cannot tell, with Done.
func (b *Backend) leaderExited() <-chan struct{} {
	if w, ok := b.proc.(registry.LeaderWatcher); ok {
		return w.LeaderExited()
	}
	return b.Done()
}

func (b *Backend) leaderGone() bool {
	select {
	case <-b.leaderExited():
		return true
	default:
		return false
	}
}
