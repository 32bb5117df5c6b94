//go:build unix

package walk

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// A Tree is what descends from this process, or did when it was last seen.
type Tree struct {
	Table xnu.Table
	// Self is the supervisor, whose descendants are members, and Proxy its parent,
	// which never is one.
	Self, Proxy xnu.Process
	// Group is a process group whose processes are members, for as long as
	// somebody known is in it, or 0.
	Group int
	// Sentinel, if not 0, is a pipe's end that nobody but members and Self has.
	Sentinel xnu.Pipe
	// Added, if set, is called for every process that is seen for the first time.
	Added func(xnu.Process)

	known    map[uint64]xnu.Process // alive at the last look, by Unique
	lineage  map[uint64]bool        // the Unique of everybody who was ever seen
	versions map[uint32]bool        // and every Version
	without  map[uint64]bool        // looked into: they do not have the sentinel
	onSight  func(xnu.Process)      // what to do with a member before anything else
}

// Know makes p a member.
func (t *Tree) Know(p xnu.Process) {
	t.remember(p)
	if _, old := t.known[p.Unique]; p.Zombie || old {
		return
	}
	t.known[p.Unique] = p
	if t.onSight != nil {
		t.onSight(p)
	}
	if t.Added != nil {
		t.Added(p)
	}
}

// remember takes p into the lineage.
func (t *Tree) remember(p xnu.Process) {
	if t.lineage == nil {
		t.known, t.without = make(map[uint64]xnu.Process), make(map[uint64]bool)
		t.lineage, t.versions = make(map[uint64]bool), make(map[uint32]bool)
		t.remember(t.Self)
	}
	t.lineage[p.Unique] = true
	if p.Version != 0 {
		t.versions[p.Version] = true
	}
}

// Members returns who was alive at the last scan.
func (t *Tree) Members() []xnu.Process {
	members := make([]xnu.Process, 0, len(t.known))
	for _, p := range t.known {
		members = append(members, p)
	}
	return members
}

// look is what one scan has seen.
type look struct {
	all   []xnu.Process
	there map[uint64]xnu.Process
	added int
}

// Scan reads the process table, forgets who has exited, and returns how many
// members it saw for the first time, zombies included.
func (t *Tree) Scan() (added int, err error) {
	t.remember(t.Self)
	l := look{there: make(map[uint64]xnu.Process)}
	err = t.Table.Each(func(p xnu.Process) {
		l.all = append(l.all, p)
		l.there[p.Unique] = p
		if t.descends(p) || t.marked(p) {
			t.meet(p, &l)
		}
	})
	if err != nil {
		return l.added, err
	}
	for again := true; again; { // parents are older than their children and come later
		before := l.added
		for i := len(l.all) - 1; i >= 0; i-- {
			if p := l.all[i]; !t.lineage[p.Unique] && t.descends(p) {
				t.meet(p, &l)
			}
		}
		t.group(&l)
		again = l.added > before
	}
	t.forget(&l)
	return l.added, nil
}

// meet takes note of a member in the table.
func (t *Tree) meet(p xnu.Process, l *look) {
	if !t.lineage[p.Unique] {
		l.added++
	}
	t.Know(p)
}

// descends reports whether p is known, or was forked by somebody who was.
func (t *Tree) descends(p xnu.Process) bool {
	if t.ours(p) {
		return false
	}
	return t.lineage[p.Unique] || t.lineage[p.Parent] || p.ParentVersion != 0 && t.versions[p.ParentVersion]
}

// ours reports whether p is one of the processes above the tree.
func (t *Tree) ours(p xnu.Process) bool {
	return p.Unique == t.Self.Unique || p.Unique == t.Proxy.Unique
}

// marked reports whether p has the sentinel. A process cannot get it later than by
// its fork, so nobody is looked into twice, and nobody who is older than Self.
func (t *Tree) marked(p xnu.Process) bool {
	if t.Sentinel == 0 || p.Zombie || p.Born < t.Self.Born || t.without[p.Unique] || t.ours(p) {
		return false
	}
	if t.Table.Holds(p.PID, t.Sentinel) {
		// The PID may have been given away between the two looks.
		now, err := t.Table.Lookup(p.PID)
		return err == nil && now.Same(p)
	}
	t.without[p.Unique] = true
	return false
}

// group finds those in the group that is the backend's own.
func (t *Tree) group(l *look) {
	inGroup := false
	for _, p := range t.known {
		now, there := l.there[p.Unique]
		inGroup = inGroup || t.Group != 0 && there && now.PGID == t.Group
	}
	if !inGroup {
		return
	}
	for _, p := range l.all {
		if p.PGID != t.Group || p.Zombie || t.lineage[p.Unique] || t.ours(p) {
			continue
		}
		if now, err := t.Table.Lookup(p.PID); err == nil && now.Same(p) && now.PGID == t.Group {
			t.meet(now, l)
		}
	}
}

// forget drops who has exited from the living. The lineage keeps them.
func (t *Tree) forget(l *look) {
	for unique := range t.known {
		p, there := l.there[unique]
		if !there || p.Zombie {
			delete(t.known, unique)
			continue
		}
		t.known[unique] = p // version, parent, group and name may change
	}
	for unique := range t.without {
		if _, there := l.there[unique]; !there {
			delete(t.without, unique)
		}
	}
}

// scans bounds how often one round looks for processes that were forked meanwhile.
// What is missed then is found in the next round.
const scans = 32

// Look scans until nobody new is found, and returns how many are alive.
func (t *Tree) Look() (left int, err error) {
	for range scans {
		added, err := t.Scan()
		if err != nil {
			return len(t.known), err
		}
		if added == 0 {
			break
		}
	}
	return len(t.known), nil
}

// Kill is one round of killing: it stops every member as soon as it is seen, looks
// again until there is none that was not stopped before that look, so that none
// forks while the others are killed, sends sig to all, and returns how many were
// alive afterwards.
func (t *Tree) Kill(sig syscall.Signal) (left int, err error) {
	var errs []error
	stopped := make(map[uint64]bool)
	stop := func(p xnu.Process) {
		if !stopped[p.Unique] {
			stopped[p.Unique] = true
			errs = append(errs, t.signal(p, syscall.SIGSTOP))
		}
	}
	t.onSight = stop
	for range scans {
		before := len(stopped)
		for _, p := range t.known {
			stop(p)
		}
		_, err := t.Scan()
		if errs = append(errs, err); len(stopped) == before && err == nil {
			break
		}
	}
	t.onSight = nil
	for _, p := range t.known {
		errs = append(errs, t.signal(p, sig))
	}
	_, err = t.Scan()
	return len(t.known), errors.Join(append(errs, err)...)
}

// Signal sends sig to every member that is found.
func (t *Tree) Signal(sig syscall.Signal) error {
	_, err := t.Look()
	errs := []error{err}
	for _, p := range t.known {
		errs = append(errs, t.signal(p, sig))
	}
	return errors.Join(errs...)
}

func (t *Tree) signal(p xnu.Process, sig syscall.Signal) error {
	if err := t.Table.Signal(p, sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the tree: %w", err)
	}
	return nil
}
