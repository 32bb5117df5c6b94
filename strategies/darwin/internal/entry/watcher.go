//go:build linux || darwin

package entry

import (
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// watcher watches processes by a queue, with filter and note of the contract.
type watcher struct {
	queue  xnu.Queue
	filter xnu.Filter
	exit   xnu.Notes
}

func newWatcher(table xnu.Table, c registry.SupervisorContract) (*watcher, error) {
	filter, exit, err := xnu.Named(c.Filter, c.Note)
	if err != nil {
		return nil, err
	}
	queue, err := table.Watch()
	if err != nil {
		return nil, err
	}
	return &watcher{queue: queue, filter: filter, exit: exit}, nil
}

// exitOf registers pid's exit. ESRCH means that it has exited already.
func (w *watcher) exitOf(pid int) error { return w.queue.Add(pid, w.filter, w.exit) }

// member registers what makes another look at the tree necessary: that p forks or
// exits, or executes something, which changes its version. If it cannot be, p is
// found by the scans that others cause.
func (w *watcher) member(p xnu.Process) {
	_ = w.queue.Add(p.PID, w.filter, w.exit|xnu.NoteFork|xnu.NoteExec)
}

// run reports the ends of owner and proxy, and that something else happened.
func (w *watcher) run(owner, proxy int, events chan<- supervisor.Event, changed chan<- struct{}) {
	for {
		got, err := w.queue.Wait()
		if err != nil { // blind: the channel and the link still tell of both ends
			return
		}
		for _, e := range got {
			exited := e.Notes&w.exit != 0
			switch {
			case exited && e.PID == owner:
				events <- supervisor.OwnerGone
			case exited && e.PID == proxy:
				events <- supervisor.ProxyGone
			default:
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}
}
