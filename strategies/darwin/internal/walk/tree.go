//go:build unix

package walk

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// A Table reads the process table and signals processes.
type Table interface {
	// All returns every process.
	All() ([]proctree.Process, error)
	// Signal returns an error that wraps os.ErrProcessDone if p has exited.
	Signal(p proctree.Process, sig syscall.Signal) error
}

// System is the Table of this host.
type System struct{}

// All implements [Table].
func (System) All() ([]proctree.Process, error) { return proctree.All() }

// Signal implements [Table].
func (System) Signal(p proctree.Process, sig syscall.Signal) error { return proctree.Signal(p, sig) }

// A Tree is what descends from this process, or did when it was last seen.
type Tree struct {
	Table Table
	// Self is the supervisor, whose descendants are members, and Proxy its
	// parent, which never is one.
	Self, Proxy int
	// Group is a process group whose processes are members, for as long as
	// somebody known is in it, or 0.
	Group int
	// Added, if set, is called for every process that is seen for the first time.
	Added func(proctree.Process)

	known map[int]proctree.Process
}

// Know makes p a member.
func (t *Tree) Know(p proctree.Process) {
	if t.known == nil {
		t.known = make(map[int]proctree.Process)
	}
	t.known[p.PID] = p
	if t.Added != nil {
		t.Added(p)
	}
}

// Members returns who was alive at the last scan.
func (t *Tree) Members() []proctree.Process {
	members := make([]proctree.Process, 0, len(t.known))
	for _, p := range t.known {
		members = append(members, p)
	}
	return members
}

// Scan reads the process table, forgets who has exited, and returns how many
// members it saw for the first time.
func (t *Tree) Scan() (added int, err error) {
	table, err := t.Table.All()
	if err != nil {
		return 0, err
	}
	now := make(map[int]proctree.Process, len(table))
	for _, p := range table {
		now[p.PID] = p
	}
	roots := []int{t.Self}
	inGroup := false
	for pid, p := range t.known {
		q, there := now[pid]
		if !there || !q.Same(p) || q.Zombie {
			delete(t.known, pid)
			continue
		}
		t.known[pid] = q // parent, group and name may change
		roots = append(roots, pid)
		inGroup = inGroup || t.Group != 0 && q.PGID == t.Group
	}
	candidates := proctree.Below(table, roots...)
	if inGroup {
		for _, p := range table {
			if p.PGID == t.Group {
				candidates = append(candidates, p)
			}
		}
	}
	for _, p := range candidates {
		_, old := t.known[p.PID]
		if !old && !p.Zombie && p.PID != t.Self && p.PID != t.Proxy {
			t.Know(p)
			added++
		}
	}
	return added, nil
}

// scans bounds how often one round of killing looks for processes that were
// forked meanwhile. What is missed then is found in the next round.
const scans = 32

// Kill is one round of killing: it stops every member, looks again until there
// is none that was not stopped before that look, so that none forks while the
// others are killed, sends sig to all, and returns how many were alive afterwards.
func (t *Tree) Kill(sig syscall.Signal) (left int, err error) {
	stopped := make(map[int]bool)
	var errs []error
	for range scans {
		if _, err := t.Scan(); err != nil {
			errs = append(errs, err)
		}
		quiet := true
		for pid, p := range t.known {
			if !stopped[pid] {
				stopped[pid], quiet = true, false
				errs = append(errs, t.signal(p, syscall.SIGSTOP))
			}
		}
		if quiet {
			break
		}
	}
	for _, p := range t.known {
		errs = append(errs, t.signal(p, sig))
	}
	if _, err := t.Scan(); err != nil {
		errs = append(errs, err)
	}
	return len(t.known), errors.Join(errs...)
}

func (t *Tree) signal(p proctree.Process, sig syscall.Signal) error {
	if err := t.Table.Signal(p, sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the tree: %w", err)
	}
	return nil
}
