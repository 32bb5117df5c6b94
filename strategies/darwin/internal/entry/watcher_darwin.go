package entry

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// watcher is a kqueue on processes, kevent(2).
type watcher struct {
	kq     int
	filter int
	exit   uint32
}

// newWatcher takes filter and note from the contract.
func newWatcher(c registry.SupervisorContract) (*watcher, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	return &watcher{kq: kq, filter: int(c.Filter), exit: uint32(c.Note)}, nil
}

func (w *watcher) add(pid int, notes uint32) error {
	change := make([]unix.Kevent_t, 1)
	unix.SetKevent(&change[0], pid, w.filter, unix.EV_ADD|unix.EV_CLEAR)
	change[0].Fflags = notes
	for {
		if _, err := unix.Kevent(w.kq, change, nil, nil); err == nil {
			return nil
		} else if err != unix.EINTR {
			return fmt.Errorf("kevent for process %d: %w", pid, err)
		}
	}
}

// exitOf registers pid's exit. ESRCH means that it has exited already.
func (w *watcher) exitOf(pid int) error { return w.add(pid, w.exit) }

// member registers that p forks or exits. If it cannot be, p is found by the
// scans that others cause.
func (w *watcher) member(p proctree.Process) { _ = w.add(p.PID, w.exit|unix.NOTE_FORK) }

// run reports the ends of owner and proxy, and that something else happened.
func (w *watcher) run(owner, proxy int, events chan<- supervisor.Event, changed chan<- struct{}) {
	got := make([]unix.Kevent_t, 64)
	for {
		n, err := unix.Kevent(w.kq, nil, got, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // blind: the channel and the link still tell of both ends
			return
		}
		for _, e := range got[:n] {
			exited := e.Fflags&w.exit != 0
			switch pid := int(e.Ident); {
			case exited && pid == owner:
				events <- supervisor.OwnerGone
			case exited && pid == proxy:
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
