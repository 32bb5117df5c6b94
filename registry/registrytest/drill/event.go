//go:build linux || windows || darwin

package drill

import (
	"context"
	"errors"
	"slices"

	"github.com/seed329817d7/contain/registry"
)

// event is what a drill lets happen, and what that kills by itself.
type event struct {
	how             string
	order           string // to the owner, "" if the driver acts itself
	silent          bool   // the order ends the owner, so there is no reply
	killsOwner      bool
	killsSupervisor bool
	stopsSupervisor bool // before the owner is killed
	supervisor      int  // which one, for an event that kills one
	killsLeader     bool
	killsGroup      bool
}

// eventOf returns the event of a drill.
func eventOf(d Drill) event {
	e := event{how: d.How}
	switch d.Event {
	case registry.EventOwnerKilled:
		e.killsOwner, e.stopsSupervisor = true, d.How == howHalted
	case registry.EventBothKilled:
		e.killsOwner, e.killsSupervisor = true, hasSupervisors
	case registry.EventSupervisorKilled:
		e.killsSupervisor, e.supervisor = true, nth(d.How)
	case registry.EventLeaderExit:
		e.killsLeader = true
	case registry.EventOwnerExit:
		e.order, e.silent = map[string]string{howExit: orderExit, howPanic: orderPanic}[d.How], true
	case EventProcessKill:
		e.order, e.killsLeader = orderKill, true
	case EventContextCancel:
		e.order, e.killsLeader = orderCancel, true
	case EventGroupKill:
		e.order, e.killsLeader, e.killsGroup = orderGroupKill, true, true
	case EventClose:
		e.order, e.killsLeader = orderClose, true
	}
	return e
}

// happen lets the event happen.
func (e event) happen(ctx context.Context, st *stage, supers []*proc) error {
	switch {
	case e.silent:
		return st.send(e.order)
	case e.order != "":
		_, err := st.order(ctx, e.order)
		return err
	case e.killsOwner && e.killsSupervisor:
		return killAtOnce(e.how, st.owner, supers)
	case e.killsOwner:
		for _, p := range supers {
			if err := p.pause(); err != nil {
				return err
			}
		}
		return st.owner.kill()
	case e.killsSupervisor:
		return supers[e.supervisor].kill()
	default:
		return st.leader.leave()
	}
}

// killAtOnce kills owner and supervisors as close to each other as a process can.
func killAtOnce(how string, owner *proc, supers []*proc) error {
	all := append([]*proc{owner}, supers...)
	if how == howSuper {
		all = append(slices.Clone(supers), owner)
	}
	if how == howStopped {
		for _, p := range all {
			if err := p.pause(); err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.kill())
	}
	return errors.Join(errs...)
}

// killsItself reports whether the event kills p whatever else is in force.
func (e event) killsItself(p *proc) bool {
	return e.killsLeader && p.shape == shapeLeader || e.killsGroup && !detached(p.shape)
}

// subjects are the processes that a guarantee of that reach is about.
func (e event) subjects(st *stage, reach registry.Reach) []*proc {
	if reach == registry.ReachChild {
		return []*proc{st.leader}
	}
	return slices.Clone(st.members)
}

// supervisorName is what every supervisor of this module is called, as far as
// the kernel keeps a name.
const supervisorName = "contain-supervisor"
