//go:build unix

package walk

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// host is a simulated XNU: a process table, and processes that fork, execute, leave
// their group, close the sentinel and exit, members of the tree and strangers alike.
// Between any two calls of the table, and between any two entries that it is read by,
// others run for as long as the schedule says. Nothing else is random, so a schedule
// repeats itself.
//
// What it does as XNU does: an exiting process gives its children to launchd and is not
// found by anything before it is a zombie; the ids of a zombie can be read; an exec makes
// the parent of the moment the parent (from macOS 13 on), while the parent's version
// stays; a fork that has begun is completed, whatever signal is pending; events of one
// process are merged; the exit of a traced process is not posted; PIDs are few and are
// given away as soon as they are free; the attributes of an entry are of an earlier
// moment than its numbers.
type host struct {
	next  func(n int) int // a number below n: the schedule
	rules rules
	procs map[int]*proc // by PID
	order []*proc       // allproc: the youngest first
	pids  int           // the last one given away

	uniques  uint64
	versions uint32
	forks    int // how many are still allowed
	log      []string
	wrong    []string

	looks  int // completed looks at the tree
	events map[int]xnu.Notes
	wants  map[int]xnu.Notes
}

// rules restrict what processes do.
type rules struct {
	versions bool // macOS 15.4: ParentVersion can be read
	closes   bool // members may close the sentinel
	patient  bool // the tree is looked at before a newborn closes the sentinel, and before one exits who has forked without it
	group    bool // the backend has a group of its own
	// bare members never have the sentinel. Only who has been seen since its birth and
	// its last exec forks, and may then exit at once. There are looks without events.
	bare bool
}

type proc struct {
	pid, ppid, pgid int
	unique, parent  uint64
	version, pver   uint32
	state           state
	forking         bool // in the kernel, and not to be interrupted
	stopped, killed bool
	traced          bool
	sentinel        bool
	member          bool // in truth
	above           bool // supervisor, proxy, launchd: they do nothing
	seenBy          int  // the look that surely saw it as it was born
	waitFor         int  // does not exit before that look
}

type state int

const (
	running state = iota
	exiting       // not found by anything
	zombie
)

const (
	launchd    = 1
	firstPID   = 100
	lastPID    = 120 // so that PIDs are soon used again
	proxyPID   = 101
	selfPID    = 102
	sentinelID = 7
)

func newHost(next func(int) int, r rules) (*host, *Tree) {
	h := &host{next: next, rules: r, procs: make(map[int]*proc), pids: firstPID, forks: 60,
		events: make(map[int]xnu.Notes), wants: make(map[int]xnu.Notes)}
	add := func(pid int) *proc {
		p := h.enter(&proc{pid: pid, ppid: launchd, pgid: pid, parent: 1, above: true})
		h.pids = max(h.pids, pid)
		return p
	}
	init := add(launchd)
	stranger := add(firstPID)
	stranger.above = false
	proxy, self := add(proxyPID), add(selfPID)
	self.sentinel = true
	self.ppid, self.parent = proxyPID, proxy.unique
	_ = init
	tree := &Tree{Table: h, Sentinel: sentinelID}
	tree.Self, _ = h.Lookup(selfPID)
	tree.Proxy, _ = h.Lookup(proxyPID)
	leader := h.fork(self)
	leader.member, leader.sentinel = true, !r.bare
	leader.pgid = firstPID // the service's, with strangers in it
	if r.group {
		leader.pgid, tree.Group = proxyPID, proxyPID
	}
	tree.Added = func(p xnu.Process) { h.watch(p.PID) }
	h.run(h.next(6)) // before anybody can look
	if p, err := h.Lookup(leader.pid); err == nil {
		tree.Know(p)
	}
	return h, tree
}

func (h *host) enter(p *proc) *proc {
	h.uniques++
	h.versions++
	p.unique, p.version = h.uniques, h.versions
	h.procs[p.pid] = p
	h.order = slices.Insert(h.order, 0, p)
	return p
}

func (h *host) say(format string, args ...any) { h.log = append(h.log, fmt.Sprintf(format, args...)) }

func (p *proc) String() string {
	who := "stranger"
	if p.member {
		who = "member"
	}
	return fmt.Sprintf("%s %d#%d", who, p.pid, p.unique)
}

// freePID returns the next PID that no process and no group has.
func (h *host) freePID() int {
	for range lastPID {
		if h.pids++; h.pids > lastPID {
			h.pids = firstPID
		}
		used := h.procs[h.pids] != nil
		for _, p := range h.order {
			used = used || p.pgid == h.pids
		}
		if !used {
			return h.pids
		}
	}
	return 0
}

func (h *host) fork(p *proc) *proc {
	pid := h.freePID()
	if pid == 0 {
		return nil
	}
	c := h.enter(&proc{pid: pid, ppid: p.pid, pgid: p.pgid, parent: p.unique, pver: p.version,
		sentinel: p.sentinel, member: p.member, seenBy: h.looks + 2}) // one may be under way
	h.post(p, xnu.NoteFork)
	if c.member && !c.sentinel && !h.rules.bare {
		p.waitFor = h.looks + 2
	}
	h.say("%v forks %v", p, c)
	return c
}

func (h *host) post(p *proc, n xnu.Notes) {
	if h.wants[p.pid]&n != 0 && !(p.traced && n == xnu.NoteExit) {
		h.events[p.pid] |= n
	}
}

// run lets others run for n steps.
func (h *host) run(n int) {
	for range n {
		if p := h.somebody(); p != nil {
			h.step(p)
		}
	}
}

// somebody returns one that can go on, or nil.
func (h *host) somebody() *proc {
	var able []*proc
	for _, p := range h.order {
		if p.able() {
			able = append(able, p)
		}
	}
	if len(able) == 0 {
		return nil
	}
	return able[h.next(len(able))]
}

func (p *proc) able() bool {
	return !p.above && (p.state != running || !p.stopped || p.killed || p.forking)
}

// others lets others run between two calls: mostly not, now and then many or one of
// them for long.
func (h *host) others() {
	switch h.next(12) {
	case 0:
		h.run(h.next(16))
	case 1:
		p := h.somebody()
		for range h.next(10) {
			if p != nil && p.able() && h.procs[p.pid] == p {
				h.step(p)
			}
		}
	case 2, 3:
		h.run(1)
	}
}

// step is one thing that a process does, or the kernel with it.
func (h *host) step(p *proc) {
	switch {
	case p.forking:
		p.forking = false
		h.fork(p)
	case p.state == exiting:
		p.state = zombie
		h.post(p, xnu.NoteExit)
	case p.state == zombie: // its parent, or launchd, waits for it
		delete(h.procs, p.pid)
		delete(h.wants, p.pid)
		h.order = slices.DeleteFunc(h.order, func(q *proc) bool { return q == p })
	case p.killed:
		h.exit(p)
	default:
		h.act(p)
	}
}

func (h *host) exit(p *proc) {
	h.say("%v exits", p)
	p.state = exiting
	for _, c := range h.order {
		if c.ppid == p.pid {
			c.ppid = launchd
		}
	}
}

func (h *host) act(p *proc) {
	switch h.next(8) {
	case 0, 1, 2:
		if h.forks > 0 && (p.member || h.next(3) == 0) && !(h.rules.bare && p.member && p.seenBy > h.looks) {
			h.forks--
			p.forking = true
		}
	case 3, 4:
		if (!h.rules.patient || p.waitFor <= h.looks) && (!h.rules.bare || p.seenBy <= h.looks) {
			h.exit(p)
		}
	case 5:
		h.versions++
		p.version, p.seenBy = h.versions, h.looks+2
		if parent := h.procs[p.ppid]; parent != nil {
			p.parent = parent.unique
		}
		h.post(p, xnu.NoteExec)
		h.say("%v executes, its parent is %d", p, p.ppid)
	case 6:
		p.pgid = p.pid
	case 7:
		if h.rules.closes && p.member && (!h.rules.patient || p.seenBy <= h.looks) {
			p.sentinel = false
			h.say("%v closes the sentinel", p)
		}
		p.traced = !p.traced && h.next(2) == 0
	}
}

func (h *host) process(p *proc) xnu.Process {
	x := xnu.Process{PID: p.pid, PPID: p.ppid, PGID: p.pgid, Unique: p.unique, Parent: p.parent,
		Version: p.version, Born: p.unique, Zombie: p.state == zombie}
	if h.rules.versions {
		x.ParentVersion = p.pver
	}
	return x
}

// Each implements xnu.Table.
func (h *host) Each(visit func(xnu.Process)) error {
	h.others()
	var listed []xnu.Process // sysctl kern.proc.all
	for _, zombies := range []bool{false, true} {
		for _, p := range h.order {
			if p.state != exiting && (p.state == zombie) == zombies {
				listed = append(listed, h.process(p))
			}
		}
	}
	for _, was := range listed {
		h.others()
		p := h.procs[was.PID]
		if p == nil || p.state == exiting {
			continue
		}
		now := h.process(p) // PROC_PIDUNIQIDENTIFIERINFO
		now.PPID, now.PGID, now.Zombie = was.PPID, was.PGID, was.Zombie
		visit(now)
	}
	return nil
}

// Lookup implements xnu.Table.
func (h *host) Lookup(pid int) (xnu.Process, error) {
	h.others()
	p := h.procs[pid]
	if p == nil || p.state == exiting {
		return xnu.Process{}, os.ErrProcessDone
	}
	return h.process(p), nil
}

// Signal implements xnu.Table.
func (h *host) Signal(to xnu.Process, sig syscall.Signal) error {
	h.others()
	p := h.procs[to.PID]
	if p == nil || p.state != running || p.unique != to.Unique {
		return os.ErrProcessDone
	}
	h.say("signal %d to %v", int(sig), p)
	if !p.member {
		h.wrong = append(h.wrong, fmt.Sprintf("signal %d to %v", int(sig), p))
	}
	switch sig {
	case syscall.SIGSTOP:
		p.stopped = true
	case syscall.SIGKILL:
		p.killed = true
	}
	return nil
}

// Holds implements xnu.Table.
func (h *host) Holds(pid int, _ xnu.Pipe) bool {
	h.others()
	p := h.procs[pid]
	return p != nil && p.state == running && p.sentinel
}

// watch is what an Added does.
func (h *host) watch(pid int) {
	h.others()
	if p := h.procs[pid]; p != nil && p.state == running {
		h.wants[pid] = xnu.NoteExit | xnu.NoteFork | xnu.NoteExec
	}
}

func (*host) Pipe(int) (xnu.Pipe, error)  { return sentinelID, nil }
func (*host) Watch() (xnu.Queue, error)   { return nil, os.ErrInvalid }
func (*host) PeerUID(int) (uint32, error) { return 0, os.ErrInvalid }
func (*host) Argv0() string               { return "" }
func (*host) Become()                     {}
func (*host) Hurry()                      {}

// live runs the tree for a while, as the supervisor does: a look at first, and after
// each event, which others may delay.
func (h *host) live(look func(), rounds int) {
	look()
	h.looks++
	for range rounds {
		h.run(h.next(8))
		if (len(h.events) > 0 || h.rules.bare) && h.next(3) > 0 {
			clear(h.events)
			look()
			h.looks++
		}
	}
}

// end kills as Loop does, and reports whether the tree was empty in the end, as far
// as kill knows.
func (h *host) end(kill func() int) bool {
	for range 2000 {
		if kill() == 0 {
			if kill() == 0 {
				return true
			}
		}
		h.looks++
		h.run(h.next(4))
	}
	return false
}

// left lists the members that live.
func (h *host) left() (alive []*proc) {
	for _, p := range h.order {
		if p.member && p.state == running && !p.killed {
			alive = append(alive, p)
		}
	}
	return alive
}

func (h *host) story() string { return strings.Join(h.log, "\n") }
