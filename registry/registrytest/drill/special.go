//go:build linux || windows || darwin

package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// killStarting kills owners at random moments while they start a backend. The
// first is let finish, to know how long that takes.
func (l *Lab) killStarting(ctx context.Context, r *Result) {
	takes, err := l.timeStart(ctx, r.Drill, true)
	if err != nil {
		r.Err = err
		return
	}
	r.Behind = takes
	for range l.o.Tries {
		left, took, err := l.killOneStarting(ctx, r.Drill, rand.N(takes*5/4+1), l.patience(r))
		r.Processes += lookUpTree(r.Tree, 0).size()
		r.Took = max(r.Took, took)
		r.Survivors = append(r.Survivors, left...)
		if err != nil {
			r.Err = err
			return
		}
	}
	if len(r.Survivors) > 0 {
		r.Err = fmt.Errorf("in %d tries %d processes survived", l.o.Tries, len(r.Survivors))
		return
	}
	r.Note = fmt.Sprintf("in %d tries", l.o.Tries)
	if r.Err = l.controlStarting(ctx, r); r.Err == nil {
		l.judgeTime(r)
	}
}

// timeStart returns how long the backend of an owner takes to be complete.
func (l *Lab) timeStart(ctx context.Context, d Drill, contained bool) (time.Duration, error) {
	st, err := l.begin(ctx, d, contained)
	if err != nil {
		return 0, err
	}
	defer st.tearDown()
	start := time.Now()
	if _, err := st.order(ctx, orderStart); err != nil {
		return 0, err
	}
	err = st.assemble(ctx, lookUpTree(d.Tree, 0), false)
	return time.Since(start), err
}

// killOneStarting kills one owner some time after it was told to start a backend.
func (l *Lab) killOneStarting(ctx context.Context, d Drill, after, within time.Duration) (left []string, took time.Duration, err error) {
	st, err := l.begin(ctx, d, true)
	if err != nil {
		return nil, 0, err
	}
	defer st.tearDown()
	if err := st.send(orderStart); err != nil {
		return nil, 0, err
	}
	pause(after)
	start := time.Now()
	if err := st.owner.kill(); err != nil {
		return nil, 0, err
	}
	left, gone, err := st.remaining(ctx, nil, registry.ReachTree, start.Add(within))
	return left, gone.Sub(start), err
}

// pause waits for d more exactly than a timer does: a start takes about a millisecond.
func pause(d time.Duration) {
	start := time.Now()
	if d > 2*time.Millisecond {
		time.Sleep(d - time.Millisecond)
	}
	for time.Since(start) < d {
	}
}

// controlStarting shows that an owner killed while it starts a backend leaves
// it behind if nothing contains it. The moment matters, so it may take some tries.
func (l *Lab) controlStarting(ctx context.Context, r *Result) error {
	d := r.Drill
	key := Drill{Event: d.Event, Tree: d.Tree}
	if c, done := l.controls[key]; done {
		r.Behind = max(r.Behind, c.built)
		return nil
	}
	takes, err := l.timeStart(ctx, d, false)
	if err != nil {
		return err
	}
	r.Behind = max(r.Behind, takes)
	plain := d
	plain.Strategy = ""
	for range 20 {
		left, _, err := l.killOneStarting(ctx, plain, takes/4+rand.N(takes+1), max(minControl, takes))
		if err != nil {
			return err
		}
		if len(left) > 0 {
			l.controls[key] = control{built: takes}
			return nil
		}
	}
	return errors.New("it proves nothing: without containment nothing survived either")
}

// exitThread lets the thread that started the backend exit. Nothing may die. In
// the control the backend is bound to that thread, and must.
func (l *Lab) exitThread(ctx context.Context, r *Result) {
	bound, err := l.onThread(ctx, r.Drill, false)
	if err != nil {
		r.Err = err
		return
	}
	defer bound.tearDown()
	start := time.Now()
	_, err = bound.order(ctx, orderEndThread)
	left := alive(ctx, []*proc{bound.leader}, time.Now().Add(startLimit))
	took := time.Since(start)
	if r.Err = cmp.Or(err, ctx.Err()); r.Err != nil {
		return
	}
	if len(left) > 0 {
		r.Err = errors.New("it proves nothing: in the control the thread's exit killed nothing")
		return
	}
	st, err := l.onThread(ctx, r.Drill, true)
	if err != nil {
		r.Err = err
		return
	}
	defer st.tearDown()
	r.Processes = len(st.members)
	if _, r.Err = st.order(ctx, orderEndThread); r.Err != nil {
		return
	}
	left = alive(ctx, st.members, time.Now().Add(max(2*took, minControl)))
	if r.Err = ctx.Err(); r.Err == nil && len(left) < len(st.members) {
		r.Err = fmt.Errorf("the exit of a thread ended processes: of %s there are left %s", names(st.members), names(left))
	}
}

// onThread starts a backend from a thread of the owner's.
func (l *Lab) onThread(ctx context.Context, d Drill, contained bool) (*stage, error) {
	st, err := l.begin(ctx, d, contained)
	if err != nil {
		return nil, err
	}
	if _, err = st.order(ctx, orderStartThread); err == nil {
		err = st.assemble(ctx, lookUpTree(d.Tree, 0), false)
	}
	if err != nil {
		st.tearDown()
		return nil, err
	}
	return st, nil
}
