package drill

import (
	"os"
	"slices"

	"github.com/seed329817d7/contain/registry"
)

// keepsHalfBorn: what holds a stream here is a process.
const keepsHalfBorn = false

// shapes are those of this system.
var shapes = []string{shapeChild, shapeIgnoring, shapeSetsid, shapeDaemon, shapeBare, shapeStopped}

var largeTrees = []string{treeCrowd, treeChain}

// startTree is what a backend consists of whose owner is killed meanwhile.
const startTree = shapeDaemon

// treeIn is the tree of an owner in these circumstances.
func treeIn(owner string) string {
	if owner == ownerProcs {
		return treeChild // no room for more
	}
	return treeMixed
}

// crowdSize is the number of processes in a crowd, if the host allows as many.
const crowdSize = 1000

const (
	hasSupervisors = true
	threads        = true // a parent-death signal belongs to one
	groups         = true
)

// The circumstances of an owner.
const (
	ownerNobody   = "unprivileged"
	ownerDropped  = "drops privileges after Install"
	ownerPID1     = "PID 1"
	ownerReaper   = "below a PID 1 that reaps"
	ownerNoReaper = "below a PID 1 that does not reap"
	ownerFiles    = "few open files"
	ownerProcs    = "few processes"
	ownerNested   = "inside another containment"
)

// owners returns the circumstances in which an event can happen. When PID 1 of a
// namespace ends, the kernel ends the rest, contained or not: nothing to prove.
func owners(event registry.Event) []string {
	all := []string{ownerFiles, ownerNested}
	if os.Geteuid() == 0 {
		all = append(all, ownerNobody, ownerDropped, ownerProcs, ownerReaper, ownerNoReaper)
		ends := []registry.Event{registry.EventOwnerKilled, registry.EventOwnerExit, registry.EventBothKilled}
		if !slices.Contains(ends, event) {
			all = append(all, ownerPID1)
		}
	}
	return all
}
