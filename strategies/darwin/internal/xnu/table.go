// Package xnu is what the kqueue supervisor asks of macOS, and nothing else: a
// short table of calls. Everything above it builds and runs on every Unix, and is
// tested on Linux over a second implementation of the table, package standin, and
// over a simulated one.
//
// Facts are those of apple-oss-distributions/xnu; file names in comments are its.
package xnu

import (
	"fmt"
	"syscall"
)

// A Process is an entry of the process table.
type Process struct {
	PID, PPID, PGID int
	// Unique is the process's own number (p_uniqueid). No other process has it
	// while the host is up, and exec keeps it.
	Unique uint64
	// Parent is the Unique of the process that forked this one (p_puniqueid).
	// Since macOS 13 an exec makes a new entry, which takes the number of the
	// parent of that moment: launchd's, after an adoption (pinsertchild in kern_proc.c).
	Parent uint64
	// Version changes at every exec and is no other process's either (p_idversion).
	Version uint32
	// ParentVersion is the Version that the parent had when it forked this one
	// (p_orig_ppidversion). exec keeps it. It is 0 before macOS 15.4.
	ParentVersion uint32
	// Born never decreases from one process to a younger one.
	Born uint64
	// Name is the short name that the system keeps.
	Name string
	// Zombie is set if the process has exited and waits for its parent to notice.
	Zombie bool
}

// Same reports whether p and q are the same process.
func (p Process) Same(q Process) bool { return p.PID == q.PID && p.Unique == q.Unique }

// A Pipe is the identity of one end of a pipe, for as long as it is open anywhere.
type Pipe uint64

// A Table is what macOS alone has.
type Table interface {
	// Each calls visit for every process, zombies included, the youngest first, and
	// reads an entry only when it is its turn: who is to be stopped must not wait
	// for the others. If a PID is given away meanwhile, PPID, PGID, Name and Zombie
	// of an entry may be those of the previous holder; see Lookup.
	Each(visit func(Process)) error
	// Lookup returns one process, of which everything was true at one moment. If
	// there is none the error wraps os.ErrProcessDone.
	Lookup(pid int) (Process, error)
	// Signal sends sig to p and nobody else. If p has exited, as a zombie too, the
	// error wraps os.ErrProcessDone.
	Signal(p Process, sig syscall.Signal) error
	// Pipe identifies what this process has open as fd.
	Pipe(fd int) (Pipe, error)
	// Holds reports whether the process has a descriptor of the pipe's end. Who may
	// not be looked into, because it is another user's, does not.
	Holds(pid int, end Pipe) bool
	// Watch returns a new queue.
	Watch() (Queue, error)
	// PeerUID returns the user under whom the other end of a socket was made.
	PeerUID(fd int) (uint32, error)
	// Argv0 is the argument list of a program that is started as a supervisor.
	Argv0() string
	// Become makes the supervisor known to the system under its own name, as far as
	// that can be done after exec.
	Become()
	// Hurry gives the supervisor, which starts nothing any more, precedence over
	// the tree, as far as it may.
	Hurry()
}

// A Filter says what a queue is about, in the numbers of <sys/event.h>.
type Filter int16

// FilterProc is EVFILT_PROC, about processes.
const FilterProc Filter = -5

// Notes is a set of what can happen to a process, in the numbers of <sys/event.h>.
type Notes uint32

// What a queue reports.
const (
	NoteExit Notes = 0x80000000
	NoteFork Notes = 0x40000000
	NoteExec Notes = 0x20000000
)

// Named returns the filter and the notes of these names in <sys/event.h>.
func Named(filter, note string) (Filter, Notes, error) {
	if filter != "EVFILT_PROC" || note != "NOTE_EXIT" {
		return 0, 0, fmt.Errorf("a supervisor cannot watch by kevent filter %q and note %q, only by EVFILT_PROC and NOTE_EXIT", filter, note)
	}
	return FilterProc, NoteExit, nil
}

// An Event says what has happened to a process; several may be one.
type Event struct {
	PID   int
	Notes Notes
}

// A Queue reports what happens to processes, kevent(2) with EVFILT_PROC.
type Queue interface {
	// Add registers a process. The error wraps syscall.ESRCH if it has exited.
	Add(pid int, filter Filter, notes Notes) error
	// Wait returns what has happened since.
	Wait() ([]Event, error)
	// Close ends the queue; it is for a process that goes on without it.
	Close()
}
