package drill

import (
	"os"

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

// crowdSize is the number of processes in a crowd. Each is a Go program.
const crowdSize = 200

const (
	hasSupervisors = true
	threads        = false // nothing is bound to a thread
	groups         = true
)

// The circumstances of an owner.
const (
	ownerNobody  = "unprivileged"
	ownerDropped = "drops privileges after Install"
	ownerFiles   = "few open files"
	ownerProcs   = "few processes"
	ownerNested  = "inside another containment"
)

// owners returns the circumstances in which an event can happen.
func owners(registry.Event) []string {
	all := []string{ownerFiles, ownerNested}
	if os.Geteuid() == 0 {
		all = append(all, ownerNobody, ownerDropped, ownerProcs)
	}
	return all
}
