//go:build unix

package walk

import (
	"slices"
	"syscall"
	"testing"

	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// forker is a host with one process that forks at the very moment at which it is
// told to stop, and whose child is PID 1's when it has been killed.
type forker struct{ processes []proctree.Process }

func (f *forker) All() ([]proctree.Process, error) { return slices.Clone(f.processes), nil }

func (f *forker) Signal(p proctree.Process, sig syscall.Signal) error {
	switch {
	case sig == syscall.SIGSTOP && p.PID == 100:
		f.processes = append(f.processes, proctree.Process{PID: 101, PPID: 100, Start: 2})
	case sig == syscall.SIGKILL:
		f.processes = slices.DeleteFunc(f.processes, p.Same)
		for i := range f.processes {
			if f.processes[i].PPID == p.PID {
				f.processes[i].PPID = 1
			}
		}
	}
	return nil
}

// TestForkWhileStopped: a child that is forked between the look at the table and
// the stop of its parent is found before the parent is killed, or it never is.
func TestForkWhileStopped(t *testing.T) {
	host := &forker{processes: []proctree.Process{{PID: 100, PPID: 10, Start: 1}}}
	tree := &Tree{Table: host, Self: 10}
	tree.Know(host.processes[0])
	if left, err := tree.Kill(syscall.SIGKILL); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	if len(host.processes) > 0 {
		t.Errorf("alive and no member: %+v", host.processes)
	}
}
