package drill

import (
	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
)

// keepsHalfBorn: Wine keeps a process that it has begun and never brings to its first
// instruction, if whoever starts it is terminated meanwhile: it is none to Windows, has one thread,
// which waits for Wine's server for ever, and holds the streams that it was to have.
var keepsHalfBorn = windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil

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
