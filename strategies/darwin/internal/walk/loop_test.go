//go:build unix

package walk

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// script is a Deeds whose members die after a number of rounds.
type script struct {
	left   int
	rounds int // of killing, until nothing is left; negative: never
	did    []string
}

func (s *script) Look() int { return s.left }

func (s *script) Kill() int {
	s.do("kill")
	if s.rounds--; s.rounds == 0 {
		s.left = 0
	}
	return s.left
}

func (s *script) Mirror() { s.do("mirror") }

func (s *script) Report(late bool) {
	if late {
		s.do("late")
	} else {
		s.do("report")
	}
	if late { // the obstacle goes away, so that the loop can end
		s.rounds = 1
	}
}

func (s *script) do(what string) {
	if n := len(s.did); n == 0 || s.did[n-1] != what { // rounds of killing count as one
		s.did = append(s.did, what)
	}
}

func TestLoop(t *testing.T) {
	const (
		kill  = supervisor.LeaderExitKill
		wait  = supervisor.LeaderExitWait
		leave = supervisor.LeaderExitLeave
	)
	type events = []supervisor.Event
	for _, tt := range []struct {
		name   string
		policy supervisor.LeaderExit
		events events
		script script
		want   []string
	}{
		{"leader exits alone", kill, events{supervisor.LeaderExited}, script{rounds: 1}, []string{"kill", "mirror", "report"}},
		{"leader exits, others are left", kill, events{supervisor.LeaderExited}, script{left: 3, rounds: 4}, []string{"kill", "mirror", "report"}},
		{"owner gone, leader exits of it", kill, events{supervisor.OwnerGone, supervisor.LeaderSIGKILLed}, script{left: 3, rounds: 2}, []string{"kill", "mirror", "report"}},
		{"proxy gone and owner gone", kill, events{supervisor.ProxyGone, supervisor.OwnerGone, supervisor.LeaderSIGKILLed}, script{left: 1, rounds: 1}, []string{"kill", "mirror", "report"}},
		{"leader exits, others may stay", wait, events{supervisor.LeaderExited, supervisor.StopOrdered}, script{left: 2, rounds: 2}, []string{"mirror", "kill", "mirror", "report"}},
		{"leader is killed: so are the others", wait, events{supervisor.LeaderSIGKILLed}, script{left: 2, rounds: 2}, []string{"kill", "mirror", "report"}},
		{"leader exits alone, others could stay", wait, events{supervisor.LeaderExited}, script{}, []string{"mirror", "report"}},
		{"leader exits, others are let go", leave, events{supervisor.LeaderExited}, script{left: 2}, []string{"mirror", "report"}},
		{"one cannot be killed in time", kill, events{supervisor.StopOrdered, supervisor.LeaderSIGKILLed}, script{left: 1, rounds: -1}, []string{"kill", "mirror", "late", "kill", "mirror", "report"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noticed := make(chan supervisor.Event, len(tt.events))
			for _, e := range tt.events {
				noticed <- e
			}
			s := tt.script
			l := Loop{Machine: supervisor.Machine{OnLeaderExit: tt.policy}, Deeds: &s, Events: noticed, Deadline: 50 * time.Millisecond}
			ended := make(chan struct{})
			go func() { defer close(ended); l.Run() }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatal("the loop goes on after 20 s")
			}
			if !slices.Equal(s.did, tt.want) {
				t.Errorf("did %v, want %v", s.did, tt.want)
			}
		})
	}
}

// lively is a script whose last member goes at a time of the test's choosing.
type lively struct {
	script
	members atomic.Int32
}

func (l *lively) Look() int { return int(l.members.Load()) }

// TestLoopLooksWhenTheTreeChanges: nothing but a change says that the last member has gone.
func TestLoopLooksWhenTheTreeChanges(t *testing.T) {
	noticed, changed := make(chan supervisor.Event), make(chan struct{})
	s := &lively{}
	s.members.Store(1)
	l := Loop{Machine: supervisor.Machine{OnLeaderExit: supervisor.LeaderExitWait}, Deeds: s, Events: noticed, Changed: changed, Deadline: time.Minute}
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run() }()
	noticed <- supervisor.LeaderExited
	changed <- struct{}{} // taken only after the leader's exit was dealt with
	select {
	case <-ended:
		t.Fatal("the loop ended while a member lives")
	default:
	}
	s.members.Store(0)
	select {
	case changed <- struct{}{}:
	case <-ended: // it was about to look when the member went
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the loop goes on after 20 s")
	}
	if want := []string{"mirror", "report"}; !slices.Equal(s.did, want) {
		t.Errorf("did %v, want %v", s.did, want)
	}
}
