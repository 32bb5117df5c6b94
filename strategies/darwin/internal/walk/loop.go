//go:build unix

package walk

import (
	"time"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Deeds are what a Loop can do.
type Deeds interface {
	// Look looks for new members, without ending any, and returns how many are alive.
	Look() (left int)
	// Kill is one round of killing; it returns how many are alive.
	Kill() (left int)
	// Mirror lets the proxy end as the leader did. Called again it does nothing.
	Mirror()
	// Report tells the owner that nothing is left, or that something is left
	// when the deadline has passed.
	Report(late bool)
}

// A Loop feeds a supervisor's machine with what was noticed, and does what it
// decides.
type Loop struct {
	Machine supervisor.Machine
	Deeds   Deeds
	// Events carries what was noticed; LeaderExited or LeaderSIGKILLed exactly once.
	Events <-chan supervisor.Event
	// Changed says that a member forked or exited.
	Changed <-chan struct{}
	// Deadline is the contract's kill deadline.
	Deadline time.Duration

	leaderGone bool
	killing    bool
	finished   bool
	late       <-chan time.Time
	again      <-chan time.Time
	pause      time.Duration
	left       int // after the last round
}

// The pause between two rounds of killing: short at first, and longer each time
// that a round has changed nothing, as for a process that this one may not signal.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// Run returns when the supervisor's work is done. It looks at once: the leader may
// have forked before anybody could be told of it.
func (l *Loop) Run() {
	l.look()
	for !l.finished {
		select {
		case e := <-l.Events:
			l.leaderGone = l.leaderGone || e == supervisor.LeaderExited || e == supervisor.LeaderSIGKILLed
			l.step(e)
		case <-l.late:
			l.late = nil
			l.step(supervisor.DeadlinePassed)
		case <-l.Changed:
		case <-l.again:
		}
		if !l.finished {
			l.look()
		}
	}
}

// step takes one event to the machine and does what it answers.
func (l *Loop) step(e supervisor.Event) {
	do := l.Machine.Step(e)
	if do&supervisor.Kill != 0 {
		l.killing = true
		l.late = time.After(l.Deadline)
	}
	if do&supervisor.Mirror != 0 {
		l.Deeds.Mirror()
	}
	if do&supervisor.Report != 0 {
		l.Deeds.Report(false)
	}
	if do&supervisor.ReportLate != 0 {
		l.Deeds.Report(true)
	}
	l.finished = do&supervisor.Exit != 0
}

// look finds out who is left, and in a second look, whether really nobody is: a
// process may have forked and exited while the table was read.
func (l *Loop) look() {
	look := l.Deeds.Look
	if l.killing {
		look = l.Deeds.Kill
	}
	switch left := look(); {
	case left == 0 && l.leaderGone && look() == 0:
		l.step(supervisor.Empty)
	case l.killing:
		if l.pause = min(2*l.pause, lastPause); left != l.left || l.pause == 0 {
			l.pause = firstPause
		}
		l.left = left
		l.again = time.After(l.pause)
	}
}
