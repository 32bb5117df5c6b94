package drill

import "github.com/seed329817d7/contain/registry"

// shapes are those of this system.
var shapes = []string{shapeChild, shapeIgnoring, shapeNewGroup, shapeDetached, shapeDaemon}

var largeTrees = []string{treeCrowd}

// startTree is what a backend consists of whose owner is killed meanwhile.
const startTree = shapeDaemon

// treeIn is the tree of an owner in any circumstances.
func treeIn(string) string { return treeMixed }

// crowdSize is the number of processes in a crowd. Each is a Go program.
const crowdSize = 60

const (
	hasSupervisors = false
	threads        = false
	groups         = false // a process group has no kill
)

// ownerProcs are circumstances that Windows does not have.
const ownerProcs = "few processes"

// owners returns the circumstances in which an event can happen.
func owners(registry.Event) []string { return nil }
