//go:build linux || windows || darwin

package drill

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

// The events that no guarantee is declared for, because they follow from what
// every strategy must do that declares the reach tree when its owner is killed.
const (
	// EventKilledStarting: the owner is killed while it starts a backend.
	EventKilledStarting registry.Event = "killed-starting"
	// EventThreadExit: the thread that started the backend exits. Nothing may die.
	EventThreadExit registry.Event = "thread-exit"
	// EventProcessKill: cmd.Process.Kill.
	EventProcessKill registry.Event = "process-kill"
	// EventContextCancel: the context of exec.CommandContext is cancelled.
	EventContextCancel registry.Event = "context-cancel"
	// EventGroupKill: SIGKILL to the process group that Setpgid made.
	EventGroupKill registry.Event = "group-kill"
	// EventClose: Installation.Close, which returns when all are gone.
	EventClose registry.Event = "close"
)

// tree says what a backend consists of.
type tree struct {
	branches []string // shapes below the leader
	crowd    int
	chain    bool
	uid      bool // started under another uid
	drop     bool // the leader changes its uid
}

// size is the number of members that report themselves.
func (t tree) size() int { return 1 + len(t.branches) + t.crowd }

// The names of trees that are not those of a shape.
const (
	treeChild   = "single child"
	treeMixed   = "mixed" // one branch of every shape
	treeCrowd   = "crowd"
	treeChain   = "chain"
	treeUID     = "other uid"
	treeDropped = "drops privileges"
)

// lookUpTree returns the tree of that name; crowd is the size of a crowd.
func lookUpTree(name string, crowd int) tree {
	switch name {
	case treeChild:
		return tree{}
	case treeMixed:
		return tree{branches: shapes}
	case treeCrowd:
		return tree{crowd: crowd}
	case treeChain:
		return tree{chain: true}
	case treeUID:
		return tree{branches: []string{shapeChild, shapeDaemon}, uid: true}
	case treeDropped:
		return tree{branches: []string{shapeChild, shapeDaemon}, drop: true}
	}
	return tree{branches: []string{name}}
}

// trees names those that an event can happen to, the large ones excepted.
func trees(event registry.Event) []string {
	names := append(slices.Clone(shapes), treeMixed)
	if event != registry.EventLeaderExit {
		names = append([]string{treeChild}, names...)
	}
	if os.Geteuid() == 0 {
		names = append(names, treeUID, treeDropped)
	}
	return names
}

// Plan returns the drills that a strategy must pass, in the order in which
// events rank. A strategy that declares nothing has none.
func Plan(d registry.Description, o Options) []Drill {
	var plan []Drill
	for _, event := range registry.Events() {
		g, ok := d.Guarantee(event)
		if !ok {
			continue
		}
		base := Drill{Strategy: d.Name, Event: event, Reach: g.Reach, Enforcer: g.Enforcer, Within: g.Within}
		plan = append(plan, declared(base, o)...)
	}
	return append(plan, implied(d, o)...)
}

// declared returns the drills of one guarantee.
func declared(base Drill, o Options) []Drill {
	var plan []Drill
	names := trees(base.Event)
	if o.Quick {
		names = []string{treeMixed}
	}
	if base.Reach == registry.ReachChild {
		names = []string{treeChild}
	}
	for _, how := range ways(base.Event) {
		for _, name := range names {
			d := base
			d.How, d.Tree = how, name
			plan = append(plan, d)
		}
	}
	if o.Quick {
		return plan
	}
	large := base.Event == registry.EventOwnerKilled || base.Event == registry.EventLeaderExit
	if base.Reach == registry.ReachTree && large {
		for _, name := range largeTrees {
			d := base
			d.How, d.Tree = ways(base.Event)[0], name
			plan = append(plan, d)
		}
	}
	for _, owner := range owners(base.Event) {
		d := base
		d.How, d.Tree, d.Owner = ways(base.Event)[0], treeChild, owner
		if base.Reach == registry.ReachTree {
			d.Tree = treeIn(owner)
		}
		plan = append(plan, d)
	}
	return plan
}

// implied returns the drills of what is not declared by itself.
func implied(d registry.Description, o Options) []Drill {
	g, ok := d.Guarantee(registry.EventOwnerKilled)
	if !ok {
		return nil
	}
	base := Drill{Strategy: d.Name, Tree: treeMixed, Reach: g.Reach, Within: g.Within}
	events := []registry.Event{EventKilledStarting}
	if threads {
		events = append(events, EventThreadExit)
	}
	if g.Reach == registry.ReachTree {
		events = append(events, EventProcessKill, EventContextCancel)
		if groups {
			events = append(events, EventGroupKill)
		}
		events = append(events, EventClose)
	} else {
		base.Tree = treeChild
	}
	var plan []Drill
	for _, event := range events {
		d := base
		d.Event = event
		if event == EventKilledStarting && g.Reach == registry.ReachTree {
			d.Tree = startTree
		}
		plan = append(plan, d)
	}
	return plan
}

// The ways in which an event can happen.
const (
	howExit    = "exit"
	howPanic   = "panic"
	howOwner   = "owner first"
	howSuper   = "supervisors first"
	howStopped = "stopped first"
	howHalted  = "supervisors stopped"
	howNth     = "supervisor "
)

func ways(event registry.Event) []string {
	switch event {
	case registry.EventOwnerExit:
		return []string{howExit, howPanic}
	case registry.EventOwnerKilled:
		if hasSupervisors {
			return []string{"", howHalted}
		}
	case registry.EventBothKilled:
		if hasSupervisors {
			return []string{howOwner, howSuper, howStopped}
		}
	case registry.EventSupervisorKilled:
		return []string{howNth + "1", howNth + "2"}
	}
	return []string{""}
}

// nth returns which supervisor a way means, from 0.
func nth(how string) int {
	n := 1
	_, _ = fmt.Sscan(strings.TrimPrefix(how, howNth), &n)
	return n - 1
}
