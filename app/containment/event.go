package containment

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// An EventKind says what has happened.
type EventKind string

// The kinds. Beside each are the level of its line in the log and what is set of [Event],
// Kind, Time and Strategy excepted.
const (
	// EventSkipped: a strategy that ranks above the one that is about to be in force was not taken.
	// Strategy is that one. No line of its own, see EventInstalled. Err.
	EventSkipped EventKind = "skipped"
	// EventInstalled: a strategy is in force. Info, or Warn if it declares less than
	// owner-killed=tree.
	EventInstalled EventKind = "installed"
	// EventStarted: a backend runs. That a wrapped command does, which is another's to start, may
	// be known a moment after its cmd.Start has returned. Debug. Backend.
	EventStarted EventKind = "started"
	// EventFailed: a backend could not be started. Debug, for the caller has the error. Label,
	// Path, Err.
	EventFailed EventKind = "failed"
	// EventLeaderExited: a leader has exited. Debug. Backend; Exit if the status is known already.
	EventLeaderExited EventKind = "leader-exited"
	// EventLeftoversEnded: a leader had left processes, which were ended because it had
	// exited. Info. Backend, Count; Members if the strategy knows who.
	EventLeftoversEnded EventKind = "leftovers-ended"
	// EventForced: processes outlived the grace and are killed now. Warn. Backend, Count, Members.
	EventForced EventKind = "forced"
	// EventLeft: processes may be alive although they were to be ended. Error. Backend, Count,
	// Members, Err.
	EventLeft EventKind = "left"
	// EventEnded: nothing is left of a backend, or what is left was let go. Debug. Backend.
	EventEnded EventKind = "ended"
	// EventReleased: a backend was let go on purpose, see [Backend.Release]. Info. Backend.
	EventReleased EventKind = "released"
	// EventHelperReplaced: a helper process of the strategy's has ended, by whosever hand, and what it was there
	// for was suspended until now, when another has taken its place, or could not (Err). Warn.
	EventHelperReplaced EventKind = "helper-replaced"
	// EventClosed: Close is over. Debug. Err is what Close returned.
	EventClosed EventKind = "closed"
)

// An Event is something that happened to a [Containment], see [Config].OnEvent.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Strategy string
	// Backend is the one that it is about, nil if none.
	Backend *Backend
	// Label, Path and PID are of the backend and its leader.
	Label, Path string
	PID         int
	// Count is how many processes it is about, Members who they are, as far as that is known.
	Count   int
	Members []registry.Member
	// Exit is how the leader ended.
	Exit *registry.ExitState
	Err  error
}

// level is that of the event's line in the log.
func (e Event) level() slog.Level {
	switch e.Kind {
	case EventLeftoversEnded, EventReleased:
		return slog.LevelInfo
	case EventForced, EventHelperReplaced:
		return slog.LevelWarn
	case EventLeft:
		return slog.LevelError
	}
	return slog.LevelDebug
}

// attrs are the line's keys: strategy, label, command, pid, count, members, exit and error,
// each where there is something to say.
func (e Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("strategy", e.Strategy)}
	add := func(set bool, a slog.Attr) {
		if set {
			attrs = append(attrs, a)
		}
	}
	add(e.Label != "", slog.String("label", e.Label))
	add(e.Path != "", slog.String("command", e.Path))
	add(e.PID != 0, slog.Int("pid", e.PID))
	add(e.Count != 0, slog.Int("count", e.Count))
	add(len(e.Members) > 0, slog.String("members", memberList(e.Members)))
	if e.Exit != nil {
		add(true, slog.String("exit", e.Exit.String()))
	}
	if e.Err != nil {
		add(true, slog.String("error", e.Err.Error()))
	}
	return attrs
}

// Stats are counts since [New], for a scrape. They are those of all Installs.
type Stats struct {
	// Started, Ended and Alive count backends: those that were started, those of which
	// nothing is left, and those that are not known to be gone.
	Started uint64 `json:"started"`
	Ended   uint64 `json:"ended"`
	Alive   int    `json:"alive"`
	// Released counts backends that were let go on purpose.
	Released uint64 `json:"released"`
	// Failures counts starts that failed.
	Failures uint64 `json:"failures"`
	// Forced counts processes that outlived the grace and were killed.
	Forced uint64 `json:"forced"`
	// Leftovers counts processes that a leader had left and that were ended because it had
	// exited, where the strategy can tell: without containment they would have leaked.
	Leftovers uint64 `json:"leftovers"`
	// HelpersReplaced counts helper processes that ended too early and were replaced.
	HelpersReplaced uint64 `json:"helpersReplaced"`
}

// Stats returns the counts so far.
func (c *Containment) Stats() Stats {
	st := c.events.stats()
	if s, _ := c.current(); s != nil {
		s.mu.Lock()
		st.Alive = len(s.backends)
		s.mu.Unlock()
	}
	return st
}

// events counts what happens, says it in the log, and hands it to OnEvent in order, one at
// a time, in a goroutine that lives for as long as there is something to hand over.
type events struct {
	cfg Config

	mu      sync.Mutex
	counts  Stats
	queue   []Event
	handing bool
	idle    sync.Cond
}

func newEvents(cfg Config) *events {
	e := &events{cfg: cfg}
	e.idle.L = &e.mu
	return e
}

func (e *events) stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts
}

// happened takes note of an event.
func (e *events) happened(ev Event) {
	ev.Time = time.Now()
	if b := ev.Backend; b != nil {
		ev.Strategy, ev.Label, ev.Path, ev.PID = b.strategy, b.label, b.path, b.PID()
	}
	e.mu.Lock()
	e.count(ev)
	if e.cfg.OnEvent != nil {
		e.queue = append(e.queue, ev)
		if !e.handing {
			e.handing = true
			go e.hand()
		}
	}
	e.mu.Unlock()
	if ev.Kind != EventInstalled && ev.Kind != EventSkipped { // announce has those in one line
		e.cfg.logger().LogAttrs(context.Background(), ev.level(), "contain: "+strings.ReplaceAll(string(ev.Kind), "-", " "), ev.attrs()...)
	}
}

func (e *events) count(ev Event) {
	switch ev.Kind {
	case EventStarted:
		e.counts.Started++
	case EventEnded:
		e.counts.Ended++
	case EventReleased:
		e.counts.Released++
	case EventFailed:
		e.counts.Failures++
	case EventForced:
		e.counts.Forced += uint64(ev.Count)
	case EventLeftoversEnded:
		e.counts.Leftovers += uint64(ev.Count)
	case EventHelperReplaced:
		if ev.Err == nil {
			e.counts.HelpersReplaced++
		}
	}
}

func (e *events) hand() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 {
		batch := slices.Clone(e.queue)
		e.queue = e.queue[:0]
		e.mu.Unlock()
		for _, ev := range batch {
			e.cfg.OnEvent(ev)
		}
		e.mu.Lock()
	}
	e.handing = false
	e.idle.Broadcast()
}

// flush waits until all is handed over, for so long at most: an OnEvent that calls
// what waits here would wait for itself.
func (e *events) flush(limit time.Duration) {
	over := false
	timer := time.AfterFunc(limit, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		over = true
		e.idle.Broadcast()
	})
	defer timer.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.handing && !over {
		e.idle.Wait()
	}
}
