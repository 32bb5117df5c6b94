//go:build linux || windows || darwin

package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// errNotApplicable: there is no such supervisor.
var errNotApplicable = errors.New("not applicable")

// A Lab holds drills. It is not safe for concurrent use.
type Lab struct {
	o        Options
	exe      string // this executable
	shared   string // a copy of it that every user can execute
	room     int    // processes that may be started
	controls map[Drill]control
}

// control is what a drill's control has shown.
type control struct {
	lasted time.Duration // for how long the tree outlived the event
	built  time.Duration // how long it took to start
	err    error
}

// NewLab returns a lab, or an error that wraps errors.ErrUnsupported where no
// drill can be held.
func NewLab(o Options) (*Lab, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("drill: find this executable: %w", err)
	}
	if o.Tries == 0 {
		o.Tries = 300
		if o.Quick {
			o.Tries = 10
		}
	}
	return &Lab{o: o, exe: exe, room: room(), controls: map[Drill]control{}}, nil
}

// Close removes what the lab has made.
func (l *Lab) Close() {
	if l.shared != "" {
		_ = os.Remove(l.shared)
	}
}

// Load is the largest number of processes that the lab has alive at once.
func (l *Lab) Load() int {
	if l.o.Quick {
		return smallLoad
	}
	return l.crowd() + smallLoad
}

// smallLoad is more than any drill without a crowd needs.
const smallLoad = 24

// crowd is the size of a crowd: what the host allows, with room to spare.
func (l *Lab) crowd() int { return max(0, min(crowdSize, (l.room-smallLoad)/2)) }

// minCrowd is the least that is worth the name.
const minCrowd = 50

// Run holds one drill with its control. It reports false if the drill does not
// apply to the strategy after all.
func (l *Lab) Run(ctx context.Context, d Drill) (Result, bool) {
	r := Result{Drill: d}
	if err := l.possible(d); err != nil {
		r.Err = err
		return r, true
	}
	switch d.Event {
	case EventKilledStarting:
		l.killStarting(ctx, &r)
	case EventThreadExit:
		l.exitThread(ctx, &r)
	default:
		l.hold(ctx, &r)
	}
	return r, !errors.Is(r.Err, errNotApplicable)
}

// possible says why a drill must be skipped.
func (l *Lab) possible(d Drill) error {
	need := smallLoad
	if d.Tree == treeCrowd {
		need = 2*minCrowd + smallLoad
	}
	if l.room < need {
		return fmt.Errorf("%w: it needs %d processes, and limits leave room for %d (RLIMIT_NPROC, pids.max)", ErrSkipped, need, l.room)
	}
	return nil
}

// hold is a drill with one event.
func (l *Lab) hold(ctx context.Context, r *Result) {
	st, err := l.begin(ctx, r.Drill, true)
	if err != nil {
		r.Err = err
		return
	}
	defer st.tearDown()
	t := lookUpTree(r.Tree, l.crowd())
	e := eventOf(r.Drill)
	began := time.Now()
	rep, err := st.order(ctx, orderStart)
	if rep.Refused {
		l.refused(ctx, st, r, err)
		return
	}
	if err == nil {
		if err = st.assemble(ctx, t, false); err != nil && r.Owner == ownerProcs {
			r.Err = fmt.Errorf("%w: no room for the tree: %w", ErrSkipped, err)
			return
		}
	}
	var supers []*proc
	if err == nil && (e.killsSupervisor || e.stopsSupervisor) {
		if supers, err = supervisors(st.owner); err == nil && len(supers) == 0 && hasSupervisors && r.Event == registry.EventSupervisorKilled {
			err = fmt.Errorf("no process named %s descends from the owner", supervisorName)
		}
		defer closeAll(supers)
		if e.stopsSupervisor {
			defer continueAll(supers) // who was not woken by the event would stay for ever
		}
		if e.supervisor >= len(supers) && e.supervisor > 0 || e.stopsSupervisor && len(supers) == 0 {
			err = errNotApplicable
		}
	}
	if err != nil {
		r.Err = err
		return
	}
	r.Behind = time.Since(began)
	subjects := e.subjects(st, r.Reach)
	r.Processes = len(subjects)
	start := time.Now()
	if err = e.happen(ctx, st, supers); err == nil {
		var gone time.Time
		r.Survivors, gone, err = st.remaining(ctx, subjects, r.Reach, start.Add(l.patience(r)))
		r.Took = gone.Sub(start)
	}
	if r.Err = cmp.Or(err, ctx.Err()); r.Err == nil && len(r.Survivors) > 0 {
		r.Err = fmt.Errorf("%d of %d have survived: they are alive %v after the event", len(r.Survivors), r.Processes, r.Took.Round(time.Millisecond))
	}
	if r.Err == nil {
		r.Err = l.control(ctx, r)
		if r.Err != nil && r.Owner == ownerProcs {
			r.Err = fmt.Errorf("%w: no room for the control: %w", ErrSkipped, r.Err)
		}
	}
	if r.Err == nil {
		l.judgeTime(r)
	}
}

// patience is how long a drill waits for the end of its processes: what is there
// after that has survived, what has gone before is late at most.
func (l *Lab) patience(r *Result) time.Duration {
	return r.Within + l.o.Slack + max(10*r.Behind, 15*time.Second)
}

// judgeTime says whether what is gone was gone in time, on a host as busy as this.
func (l *Lab) judgeTime(r *Result) {
	took, behind := r.Took.Round(time.Millisecond), r.Behind.Round(time.Millisecond)
	switch declared := r.Within + l.o.Slack; {
	case r.Took <= declared:
	case r.Took <= declared+r.Behind:
		r.Late = true
		r.Note = strings.TrimSpace(fmt.Sprintf("%s after %v, on a host that took %v to start the same tree", r.Note, took, behind))
	default:
		r.Err = fmt.Errorf("%w: gone, but only after %v, on a host that took %v to start the same tree", ErrSlow, took, behind)
	}
}

// refused is what a strategy may do where its owner's circumstances keep it from
// working: say so, and start nothing. Then nothing may be there. It is no proof.
func (l *Lab) refused(ctx context.Context, st *stage, r *Result, why error) {
	if r.Owner == "" {
		r.Err = why
		return
	}
	r.Survivors, _, r.Err = st.remaining(ctx, nil, registry.ReachTree, time.Now().Add(l.patience(r)))
	if r.Err == nil && len(r.Survivors) > 0 {
		r.Err = fmt.Errorf("the start failed (%w) and left processes", why)
	}
	if r.Err == nil {
		r.Err = fmt.Errorf("%w: it failed closed: %w", ErrSkipped, why)
	}
}

// begin sets a drill's owner up, with the strategy or as the control.
func (l *Lab) begin(ctx context.Context, d Drill, contained bool) (*stage, error) {
	t := lookUpTree(d.Tree, l.crowd())
	leader := &script{Role: roleMember, Shape: shapeLeader, Branches: t.branches, Crowd: t.crowd, Chain: t.chain}
	s := &script{Role: roleOwner, Setpgid: d.Event == EventGroupKill, Next: leader}
	if t.uid {
		s.Backend = strangerUID
	}
	if t.drop {
		leader.DropTo = strangerUID
	}
	if contained {
		s.Strategy = d.Strategy
	} else if d.Event == EventThreadExit {
		s.Bound = true
	} else if e := eventOf(d); e.killsSupervisor {
		s.Next = &script{Role: roleRelay, Next: leader}
	}
	first, adapt := arrange(s, d)
	exe := l.exe
	if t.uid || t.drop || d.Owner != "" {
		if err := l.share(); err != nil {
			return nil, err
		}
		exe = l.shared
	}
	return setUp(ctx, exe, first, adapt)
}

// control holds the drill without containment, for at least as long as the
// drill took: everything that the event itself does not kill must live on.
func (l *Lab) control(ctx context.Context, r *Result) error {
	d, took := r.Drill, r.Took
	key := d
	key.Strategy, key.Enforcer, key.Within = "", "", 0
	c, done := l.controls[key]
	if !done || c.err == nil && c.lasted < took {
		c.lasted = max(2*took, minControl)
		c.built, c.err = l.survive(ctx, d, c.lasted)
		if errors.Is(c.err, errIncomplete) { // which says nothing about anybody's survival
			c.built, c.err = l.survive(ctx, d, c.lasted)
		}
		if ctx.Err() == nil {
			l.controls[key] = c
		}
	}
	if c.err != nil {
		return fmt.Errorf("it proves nothing: control without containment: %w", c.err)
	}
	r.Behind = max(r.Behind, c.built)
	return nil
}

// errIncomplete: the tree of a control did not come up, as may happen where a host
// is busy, or, under Wine, where a process never begins.
var errIncomplete = errors.New("the tree is not complete")

// minControl is the least time for which the tree of a control must live on.
const minControl = 50 * time.Millisecond

func (l *Lab) survive(ctx context.Context, d Drill, window time.Duration) (built time.Duration, err error) {
	st, err := l.begin(ctx, d, false)
	if err != nil {
		return 0, err
	}
	defer st.tearDown()
	e := eventOf(d)
	began := time.Now()
	if _, err := st.order(ctx, orderStart); err != nil {
		return 0, err
	}
	t := lookUpTree(d.Tree, l.crowd())
	if err := st.assemble(ctx, t, e.killsSupervisor); err != nil {
		return 0, fmt.Errorf("%w: %w", errIncomplete, err)
	}
	built = time.Since(began)
	var supers []*proc
	if e.killsSupervisor {
		supers = []*proc{st.relay}
		e.supervisor = 0
	}
	must := slices.DeleteFunc(e.subjects(st, d.Reach), e.killsItself)
	until := time.Now().Add(window)
	if err := e.happen(ctx, st, supers); err != nil {
		return built, err
	}
	if t.chain {
		return built, st.chainLives(ctx, until)
	}
	left := alive(ctx, must, until)
	switch {
	case ctx.Err() != nil:
		return built, ctx.Err()
	case len(must) == 0:
		return built, errors.New("nothing could have survived")
	case len(left) < len(must):
		return built, fmt.Errorf("of %s there survived %s", names(must), names(left))
	}
	return built, nil
}

// share makes a copy of this executable that every user can execute.
func (l *Lab) share() error {
	if l.shared != "" {
		return nil
	}
	var err error
	l.shared, err = copyExecutable(l.exe)
	return err
}

// remaining waits until subjects are gone, and for the reach tree until nobody
// else is left either, by two more witnesses. It names who is left, and says when
// the last was gone, or that it waited no longer: a look at every process of a busy
// host takes long by itself.
func (st *stage) remaining(ctx context.Context, subjects []*proc, reach registry.Reach, until time.Time) (left []string, gone time.Time, err error) {
	for _, p := range alive(ctx, subjects, until) {
		left = append(left, fmt.Sprintf("%s %d", p.shape, p.pid))
	}
	if gone = time.Now(); reach == registry.ReachChild || ctx.Err() != nil {
		return left, gone, ctx.Err()
	}
	if len(left) == 0 {
		var held bool
		if held, gone = st.held(ctx, until); ctx.Err() != nil {
			return nil, gone, ctx.Err()
		}
		if held {
			left = append(left, "a holder of the backend's standard output")
		}
	}
	// Those that are not subjects. When they are gone they may have left others.
	for {
		all := st.census(true)
		others := slices.DeleteFunc(slices.Clone(all), func(p *proc) bool {
			return slices.ContainsFunc(subjects, func(s *proc) bool { return s.pid == p.pid })
		})
		still := alive(ctx, others, until)
		for _, p := range still {
			left = append(left, fmt.Sprintf("%s %d", p.shape, p.pid))
		}
		closeAll(all)
		if len(others) > 0 {
			gone = time.Now()
		}
		if len(others) == 0 || len(still) > 0 || ctx.Err() != nil {
			return left, gone, ctx.Err()
		}
	}
}

// halfBorn is how long a process may take from its creation until it is in the process table.
const halfBorn = 10 * time.Second

// held waits until nobody holds the backend's standard output, and reports whether somebody does
// still, and when that was known. Where holders may be no processes, those that are decide.
func (st *stage) held(ctx context.Context, until time.Time) (held bool, since time.Time) {
	over := time.NewTimer(time.Until(until))
	defer over.Stop()
	var look <-chan time.Time
	if keepsHalfBorn {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		look = ticker.C
	}
	var empty time.Time // since when there is no process
	for {
		select {
		case <-st.ended:
			return false, time.Now()
		case <-ctx.Done():
			return true, time.Now()
		case <-over.C:
			return true, time.Now()
		case <-look:
			switch {
			case st.populated(ctx):
				empty = time.Time{}
			case empty.IsZero():
				empty = time.Now()
			case time.Since(empty) > halfBorn:
				return false, empty
			}
		}
	}
}

// populated reports whether any process of the drill's lives, reported or not.
func (st *stage) populated(ctx context.Context) bool {
	st.mu.Lock()
	reported := slices.Clone(st.members)
	st.mu.Unlock()
	others := st.census(true)
	defer closeAll(others)
	return len(others) > 0 || len(alive(ctx, reported, time.Now())) > 0
}

// chainLives reports an error if a chain ends before until.
func (st *stage) chainLives(ctx context.Context, until time.Time) error {
	select {
	case <-st.ended:
		return errors.New("the chain ended by itself")
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(until)):
		return nil
	}
}
