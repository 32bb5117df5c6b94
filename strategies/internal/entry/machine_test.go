package entry

import (
	"fmt"
	"testing"
)

var (
	allChoices = []LeaderExit{LeaderExitKill, LeaderExitWait, LeaderExitLeave}
	allStates  = []state{running, waiting, killing, done}
	allEvents  = []Event{EndAsked, OwnerGone, ProxyGone, StopOrdered, LeaderExited, LeaderSIGKILLed, Empty, DeadlinePassed}
)

type step struct {
	on LeaderExit
	in state
	e  Event
}

type outcome struct {
	next state
	do   Action
}

// steps are those that do something; in every other case the machine stays
// where it is and does nothing.
func steps() map[step]outcome {
	m := map[step]outcome{}
	finish := Mirror | Report | Exit
	for _, on := range allChoices {
		for _, e := range []Event{OwnerGone, ProxyGone, StopOrdered} {
			m[step{on, running, e}] = outcome{killing, Kill}
		}
		m[step{on, killing, Empty}] = outcome{done, finish}
		m[step{on, killing, DeadlinePassed}] = outcome{killing, Mirror | ReportLate}
		m[step{on, waiting, OwnerGone}] = outcome{killing, Kill}
		m[step{on, waiting, StopOrdered}] = outcome{killing, Kill}
		m[step{on, waiting, Empty}] = outcome{done, Report | Exit}
	}
	m[step{LeaderExitKill, running, LeaderExited}] = outcome{killing, Kill}
	m[step{LeaderExitKill, running, LeaderSIGKILLed}] = outcome{killing, Kill}
	m[step{LeaderExitWait, running, LeaderExited}] = outcome{waiting, Mirror}
	m[step{LeaderExitWait, running, LeaderSIGKILLed}] = outcome{killing, Kill}
	m[step{LeaderExitLeave, running, LeaderExited}] = outcome{done, finish}
	m[step{LeaderExitLeave, running, LeaderSIGKILLed}] = outcome{done, finish}
	return m
}

// TestMachineEndAsked: who is asked to end is not let go.
func TestMachineEndAsked(t *testing.T) {
	m := Machine{OnLeaderExit: LeaderExitLeave}
	for _, s := range []struct {
		e    Event
		want Action
	}{{EndAsked, 0}, {LeaderExited, Mirror}, {StopOrdered, Kill}, {Empty, Mirror | Report | Exit}} {
		if do := m.Step(s.e); do != s.want {
			t.Errorf("event %d: action %b, want %b", s.e, do, s.want)
		}
	}
}

func TestMachineStep(t *testing.T) {
	want := steps()
	for _, on := range allChoices {
		for _, in := range allStates {
			for _, e := range allEvents {
				w, ok := want[step{on, in, e}]
				if !ok {
					w = outcome{next: in}
				}
				m := Machine{OnLeaderExit: on, state: in}
				if do := m.Step(e); do != w.do || m.state != w.next {
					t.Errorf("leader exit %d, state %d, event %d: action %b, state %d; want action %b, state %d", on, in, e, do, m.state, w.do, w.next)
				}
			}
		}
	}
}

// Whatever happens in whatever order, once the end was ordered nothing but
// emptiness ends the supervisor, and it ends once.
func TestMachineNeverStopsKilling(t *testing.T) {
	for _, on := range allChoices {
		for _, first := range []Event{OwnerGone, ProxyGone, StopOrdered} {
			for _, then := range allEvents {
				t.Run(fmt.Sprint(on, first, then), func(t *testing.T) {
					m := Machine{OnLeaderExit: on}
					if m.Step(first)&Kill == 0 {
						t.Fatal("the first event does not kill")
					}
					if do := m.Step(then); do&Exit != 0 && then != Empty {
						t.Errorf("it exits with processes left: %b", do)
					}
					m.Step(Empty)
					if do := m.Step(Empty); do != 0 {
						t.Errorf("done, and still it does %b", do)
					}
				})
			}
		}
	}
}

func TestMachineAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		m := Machine{}
		m.Step(OwnerGone)
		m.Step(Empty)
	}); n != 0 {
		t.Errorf("%v allocations; it runs where there is no heap", n)
	}
}
