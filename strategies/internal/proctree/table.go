//go:build linux || darwin

package proctree

import "os"

// recheck returns os.ErrProcessDone unless p is still there and no zombie.
func recheck(p Process) error {
	switch now, err := lookup(p.PID); {
	case err != nil:
		return err
	case !now.Same(p), now.Zombie:
		return os.ErrProcessDone
	}
	return nil
}

// below picks what descends from root out of a whole process table, parents first.
func below(root int, table []Process) []Process {
	children := make(map[int][]Process)
	for _, p := range table {
		children[p.PPID] = append(children[p.PPID], p)
	}
	// A table read while PIDs were reused may contain a circle, and PID 0 of
	// macOS is its own parent.
	seen := map[int]bool{root: true}
	var found []Process
	for parent, i := root, 0; ; parent, i = found[i].PID, i+1 {
		for _, p := range children[parent] {
			if !seen[p.PID] {
				seen[p.PID] = true
				found = append(found, p)
			}
		}
		if i == len(found) {
			return found
		}
	}
}
