package drill

import (
	"errors"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A Drill is one experiment: an event, a tree that it happens to, and what must
// then be gone.
type Drill struct {
	Strategy string
	Event    registry.Event
	// How is the way in which the event happens, where there are several.
	How  string
	Tree string
	// Owner is the circumstances of the owner: "" as the driver itself is.
	Owner    string
	Reach    registry.Reach
	Enforcer registry.Enforcer // "" if the event is not declared by itself
	Within   time.Duration
}

// String returns EVENT[, HOW]/TREE[/OWNER].
func (d Drill) String() string {
	s := string(d.Event)
	if d.How != "" {
		s += ", " + d.How
	}
	s += "/" + d.Tree
	if d.Owner != "" {
		s += "/" + d.Owner
	}
	return s
}

// Options are the choices for a set of drills.
type Options struct {
	// Quick leaves out what takes long: each tree by itself, large trees and
	// the circumstances of the owner.
	Quick bool
	// Tries is how often an owner is killed while it starts a backend; 0 means
	// 300, or 10 if Quick is set.
	Tries int
	// Slack is added to the time within which processes must be gone, for hosts
	// that do not schedule normally, such as one that runs other tests.
	Slack time.Duration
}

// ErrSlow is wrapped by the error of a drill after which nothing was left, but
// later than declared, and later than a host that is behind explains.
var ErrSlow = errors.New("slow")

// ErrSkipped is wrapped by the error of a drill that could not be held here. It
// has proved nothing.
var ErrSkipped = errors.New("skipped")

// A Result is how a drill ended.
type Result struct {
	Drill
	// Processes is the number that the drill was about.
	Processes int
	// Survivors names those that were still there after a time far longer than
	// the one declared.
	Survivors []string
	// Took is the time from the event until the last process was gone; the
	// longest of several tries.
	Took time.Duration
	// Behind is how long this host took to start such a tree, with containment or,
	// in the control, without, whichever was longer. A host that has more to do than
	// it can is as late in ending processes, so that much more is allowed.
	Behind time.Duration
	// Late: it was later than declared, and the host as far behind. Note says so.
	Late bool
	// Note is what else is worth knowing of a success.
	Note string
	// Err says why the drill has failed or was skipped; nil means proved.
	Err error
}
