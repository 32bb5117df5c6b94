// Package proctree reads the system's process table, and signals what it found
// there without trusting a bare PID.
//
// A walk is not a snapshot: processes fork, exit and change parents while it is
// under way, and it may miss one that did. A caller that must find them all
// stops what it found and walks again until a walk finds nobody alive. What
// left the tree before the walk, because all its ancestors up to the root had
// exited, is not found at all, unless the root is a subreaper.
//
// Linux reads /proc. Elsewhere every function returns an error that wraps
// errors.ErrUnsupported; macOS has a table of its own, in strategies/darwin.
package proctree

import (
	"fmt"
	"syscall"
)

// A Process is an entry of the process table. PID and Start together tell it
// from every other process since boot.
type Process struct {
	PID  int
	PPID int
	PGID int // process group
	// Start is when the process started, in a unit of the system's; it is good
	// for comparison only.
	Start uint64
	// Name is the short name that the system keeps, 15 bytes on Linux.
	Name string
	// Zombie is set if the process has exited and waits for its parent to notice.
	Zombie bool
}

// Same reports whether p and q are the same process.
func (p Process) Same(q Process) bool { return p.PID == q.PID && p.Start == q.Start }

// Lookup returns the process pid. If there is none the error wraps
// os.ErrProcessDone.
func Lookup(pid int) (Process, error) {
	p, err := lookup(pid)
	if err != nil {
		return Process{}, fmt.Errorf("look up process %d: %w", pid, err)
	}
	return p, nil
}

// Descendants returns what descends from the process root, zombies included,
// parents before their children, without root itself.
func Descendants(root int) ([]Process, error) {
	found, err := descendants(root)
	if err != nil {
		return nil, fmt.Errorf("walk the processes below %d: %w", root, err)
	}
	return found, nil
}

// All returns every process on the host that this process may see.
func All() ([]Process, error) {
	table, err := all()
	if err != nil {
		return nil, fmt.Errorf("read the process table: %w", err)
	}
	return table, nil
}

// Signal sends sig to p. If p has exited, even if it is still a zombie or its
// PID belongs to another process now, nothing is sent and the error wraps
// os.ErrProcessDone.
func Signal(p Process, sig syscall.Signal) error {
	if err := signal(p, sig); err != nil {
		return fmt.Errorf("send signal %d to process %d (%s): %w", int(sig), p.PID, p.Name, err)
	}
	return nil
}

// Alive returns those of ps that are no zombies.
func Alive(ps []Process) []Process {
	var alive []Process
	for _, p := range ps {
		if !p.Zombie {
			alive = append(alive, p)
		}
	}
	return alive
}

// Below picks what descends from the processes roots out of a table, parents
// first. No root is in it, not even below another.
func Below(table []Process, roots ...int) []Process {
	children := make(map[int][]Process)
	for _, p := range table {
		children[p.PPID] = append(children[p.PPID], p)
	}
	// A table read while PIDs were reused may contain a circle, and PID 0 of
	// macOS is its own parent.
	seen := make(map[int]bool)
	for _, root := range roots {
		seen[root] = true
	}
	var found []Process
	adopt := func(parent int) {
		for _, p := range children[parent] {
			if !seen[p.PID] {
				seen[p.PID] = true
				found = append(found, p)
			}
		}
	}
	for _, root := range roots {
		adopt(root)
	}
	for i := 0; i < len(found); i++ {
		adopt(found[i].PID)
	}
	return found
}
