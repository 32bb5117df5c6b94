package inventory

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// comm is the name of every supervisor's thread, contain-supervisor, of which the
// kernel keeps 15 bytes.
const comm = "contain-supervi"

// allBlocked is SigBlk in proc_pid_status(5) of a process that blocks every
// signal but KILL and STOP. Supervisors do; what blocks by way of libc leaves out
// the two that libc keeps for itself.
const allBlocked = "fffffffffffbfeff"

// tracked is a containment with what its end takes.
type tracked struct {
	Containment
	anchor  proctree.Process // the supervisor, or the leader in a service's cgroup
	proxy   proctree.Process // its death is the order to kill; none in a service's cgroup
	leader  proctree.Process // and its start, by which it is known again
	members func() ([]proctree.Process, error)
	// known are those that were members before they were asked to end: some may be
	// let go when the leader ends.
	known []proctree.Process
	// killGroup kills a service's cgroup at once; nil where that is not to be had.
	killGroup func() error
}

// id is short and, with the start time, unambiguous.
func id(p proctree.Process) string {
	return strconv.Itoa(p.PID) + "-" + strconv.FormatUint(p.Start, 36)
}

// snapshot is one reading of the process table.
type snapshot struct {
	table []proctree.Process
	byPID map[int]proctree.Process
	now   time.Duration // since boot
	// grouped is what backends returns, once it has.
	grouped map[string]map[string][]proctree.Process
}

func list() ([]Containment, error) {
	table, err := proctree.All()
	if err != nil {
		return nil, err
	}
	s := snapshot{table: table, byPID: make(map[int]proctree.Process)}
	if s.now, err = sinceBoot(); err != nil {
		return nil, err
	}
	for _, p := range table {
		s.byPID[p.PID] = p
	}
	var found []*tracked
	owners := make(map[int]bool)
	for _, p := range table {
		if p.Zombie || !named(p) {
			continue
		}
		if c, ok := s.supervised(p); ok {
			found = append(found, c)
		} else if !owners[p.PPID] {
			owners[p.PPID] = true
			found = append(found, s.service(s.byPID[p.PPID])...)
		}
	}
	found = once(found)
	slices.SortFunc(found, func(a, b *tracked) int { return older(a.anchor, b.anchor) })
	list := make([]Containment, len(found))
	for i, c := range found {
		c.Containment.stop, c.Containment.members = c.end, c.list
		list[i] = c.Containment
	}
	return list, nil
}

// sinceBoot is the clock of proctree.Process.Start.
func sinceBoot() (time.Duration, error) {
	var now unix.Timespec
	err := os.NewSyscallError("clock_gettime", unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	return time.Duration(now.Nano()), err
}

// tick is USER_HZ, proc_pid_stat(5): 100 on every architecture that Go has.
const tick = time.Second / 100

// age is how long ago p was started.
func age(now time.Duration, p proctree.Process) time.Duration {
	return max(0, now-time.Duration(p.Start)*tick)
}

// once drops what is listed twice: two owners in different PID namespaces may have
// the same number there, and so claim the same cgroups. A backend is its owner's
// child, as long as it lives.
func once(found []*tracked) []*tracked {
	byID := make(map[string]*tracked)
	var kept []*tracked
	for _, c := range found {
		if first, ok := byID[c.ID]; !ok {
			byID[c.ID] = c
			kept = append(kept, c)
		} else if c.leader.PPID == c.Owner.PID {
			*first = *c
		}
	}
	return kept
}

// older orders by start time.
func older(p, q proctree.Process) int {
	if p.Start != q.Start {
		if p.Start < q.Start {
			return -1
		}
		return 1
	}
	return p.PID - q.PID
}

// named reports whether p has the name of a supervisor and the caller may see it.
// The argument list is not compared: where contain's own was shorter than the
// supervisor's name, there was no room for the whole of it.
func named(p proctree.Process) bool {
	if p.Name != comm {
		return false
	}
	_, err := os.Stat(file(p.PID, "exe"))
	return err == nil
}

func file(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// fork reports whether p can be a fork of parent that never called exec, as a
// supervisor is one of its proxy: they run the same file as the same user. So no
// namesake can have another user's process killed in its proxy's place.
func fork(p, parent int) bool {
	if !slices.Equal(proctree.Status(p, "Uid"), proctree.Status(parent, "Uid")) {
		return false
	}
	a, errA := os.Stat(file(p, "exe"))
	b, errB := os.Stat(file(parent, "exe"))
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// silent reports whether nobody gets a signal when p ends, exit_signal in
// proc_pid_stat(5): so it is with a supervisor that is tied to a pidfd, and no other.
func silent(p int) bool {
	const exitSignal = 38 - 3 // the fields count from 1, and the third follows the name
	b, _ := os.ReadFile(file(p, "stat"))
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return len(fields) > exitSignal && fields[exitSignal] == "0"
}

// supervised is the containment below the supervisor p, if it is one.
func (s *snapshot) supervised(p proctree.Process) (*tracked, bool) {
	proxy, ok := s.byPID[p.PPID]
	if !ok || !slices.Equal(proctree.Status(p.PID, "SigBlk"), []string{allBlocked}) || !fork(p.PID, proxy.PID) {
		return nil, false
	}
	if guardian(proxy) {
		proxy = s.byPID[proxy.PPID]
	}
	owner := proxy
	if named(proxy) { // in contain run the command is its own proxy
		owner = s.byPID[proxy.PPID]
	}
	members := proctree.Alive(proctree.Below(s.table, p.PID))
	leader, ok := first(members, p.PID)
	if !ok || blocks(leader) && fork(leader.PID, p.PID) { // p is a proxy or a guardian
		return nil, false
	}
	strategy := "linux/subreaper"
	if len(proctree.Status(p.PID, "NSpid")) > len(proctree.Status(proxy.PID, "NSpid")) {
		strategy = "linux/pidns"
		if silent(p.PID) {
			strategy = "linux/autokill"
		}
	} else if g := group(leader.PID); g != group(p.PID) && strings.HasPrefix(filepath.Base(g), cgroupfs.Prefix) {
		strategy = "linux/cgroup"
	}
	c := s.containment(strategy, owner, p, leader, len(members))
	c.proxy = proxy
	c.members = func() ([]proctree.Process, error) { return below(p) }
	return c, true
}

// blocks reports whether p can be a proxy, a guardian or a supervisor.
func blocks(p proctree.Process) bool {
	return named(p) && slices.Equal(proctree.Status(p.PID, "SigBlk"), []string{allBlocked})
}

// guardian reports whether p can be the guardian of a supervisor, which alone of the
// three has no descriptor.
func guardian(p proctree.Process) bool {
	if !blocks(p) {
		return false
	}
	files, err := os.ReadDir(file(p.PID, "fd"))
	return err == nil && len(files) == 0
}

// below returns what is alive under the supervisor p, and p itself.
func below(p proctree.Process) ([]proctree.Process, error) {
	if now, err := proctree.Lookup(p.PID); err != nil || !now.Same(p) || now.Zombie {
		return nil, ignoreDone(err)
	}
	found, err := proctree.Descendants(p.PID)
	return append(proctree.Alive(found), p), ignoreDone(err)
}

func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// first is the oldest child of parent, or the oldest of all.
func first(ps []proctree.Process, parent int) (proctree.Process, bool) {
	if len(ps) == 0 {
		return proctree.Process{}, false
	}
	return slices.MinFunc(ps, func(a, b proctree.Process) int {
		if child := a.PPID == parent; child != (b.PPID == parent) {
			if child {
				return -1
			}
			return 1
		}
		return older(a, b)
	}), true
}

func (s *snapshot) containment(strategy string, owner, anchor, leader proctree.Process, n int) *tracked {
	return &tracked{
		Containment: Containment{
			ID: id(anchor), Strategy: strategy, Processes: n,
			Owner:  Process{owner.PID, owner.Name},
			Leader: Process{leader.PID, leader.Name},
			Age:    age(s.now, anchor),
		},
		anchor: anchor, leader: leader,
	}
}

// group is the path of pid's cgroup in the hierarchy of version 2, cgroups(7).
func group(pid int) string {
	groupsRead.Add(1)
	text, _ := os.ReadFile(file(pid, "cgroup"))
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n")
		}
	}
	return ""
}

// groupsRead counts, for a test, what takes List its time on a host with many processes.
var groupsRead atomic.Int64

// service returns the backends that owner has in cgroups of its own: each is
// named after its PID, as that is in its PID namespace.
func (s *snapshot) service(owner proctree.Process) []*tracked {
	numbers := proctree.Status(owner.PID, "NSpid")
	if len(numbers) == 0 {
		return nil
	}
	var found []*tracked
	for g, members := range s.backends()[numbers[len(numbers)-1]] {
		leader, _ := first(members, owner.PID)
		c := s.containment("linux/cgroup", owner, leader, leader, len(members))
		c.members = func() ([]proctree.Process, error) { return inGroup(g) }
		if dir, err := cgroupfs.Locate(g); err == nil {
			c.killGroup = dir.Kill
		}
		found = append(found, c)
	}
	return found
}

// backends returns who is alive in backends' cgroups, by the number that the owner's has
// in its name and by path. All are read once, however many processes have a
// supervisor's name.
func (s *snapshot) backends() map[string]map[string][]proctree.Process {
	if s.grouped != nil {
		return s.grouped
	}
	s.grouped = make(map[string]map[string][]proctree.Process)
	for _, p := range proctree.Alive(s.table) {
		for number, path := range backendGroups(group(p.PID)) {
			if s.grouped[number] == nil {
				s.grouped[number] = make(map[string][]proctree.Process)
			}
			s.grouped[number][path] = append(s.grouped[number][path], p)
		}
	}
	return s.grouped
}

// backendGroups returns the backends' cgroups in path, each by the number in its
// owner's: more than one, if an owner is itself a backend.
func backendGroups(path string) map[string]string {
	var found map[string]string
	elements := strings.Split(path, "/")
	for i, e := range elements[:len(elements)-1] {
		number, _, ok := strings.Cut(strings.TrimPrefix(e, cgroupfs.Prefix), "-")
		if !ok || !strings.HasPrefix(e, cgroupfs.Prefix) || !strings.HasPrefix(elements[i+1], "b") {
			continue
		}
		if found == nil {
			found = make(map[string]string)
		}
		if _, twice := found[number]; !twice {
			found[number] = strings.Join(elements[:i+2], "/")
		}
	}
	return found
}

func inGroup(g string) (found []proctree.Process, err error) {
	table, err := proctree.All()
	for _, p := range proctree.Alive(table) {
		if own := group(p.PID); own == g || strings.HasPrefix(own, g+"/") {
			found = append(found, p)
		}
	}
	return found, err
}

// list is the work of Members.
func (c *tracked) list() ([]Member, error) {
	found, err := c.members()
	if err != nil {
		return nil, err
	}
	now, err := sinceBoot()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, older)
	var members []Member
	for _, p := range found {
		if c.proxy.PID != 0 && p.Same(c.anchor) {
			continue
		}
		m := Member{Process: Process{p.PID, p.Name}, Parent: p.PPID, Age: age(now, p)}
		if words := proctree.Status(p.PID, "VmRSS"); len(words) == 2 && words[1] == "kB" {
			kib, _ := strconv.ParseUint(words[0], 10, 64)
			m.Memory = kib << 10
		}
		members = append(members, m)
	}
	return members, nil
}

// end is Stop's work.
func (c *tracked) end(ctx context.Context, grace time.Duration) (int, error) {
	var err error
	if c.known, err = c.members(); err != nil {
		return c.Processes, err
	}
	if err := ignoreDone(c.terminate()); err != nil {
		return c.Processes, err
	}
	left, err := c.wait(ctx, grace, nil)
	if len(left) > 0 && err == nil {
		left, err = c.wait(ctx, registry.SupervisorKillDeadline, c.kill)
	}
	return c.count(left), err
}

// terminate asks the leader, or every process of a service's cgroup, to end.
func (c *tracked) terminate() error {
	if c.proxy.PID != 0 {
		return proctree.Signal(c.leader, syscall.SIGTERM)
	}
	return c.signalMembers(syscall.SIGTERM)
}

// kill gives the supervisor the order to kill, or kills the cgroup at once. Whom
// that does not reach, such as those that were let go, is killed one by one; the
// caller repeats it.
func (c *tracked) kill() error {
	killed := c.killGroup != nil && c.killGroup() == nil
	if c.proxy.PID != 0 {
		// Not to be relied on: as PID 1 of the caller's own PID namespace it takes no
		// SIGKILL from inside, and kill(2) does not say so.
		_ = proctree.Signal(c.proxy, syscall.SIGKILL)
	}
	c.pursue()
	if err := c.signalMembers(syscall.SIGKILL); !killed {
		return err
	}
	return nil // whom it could not reach, the wait will show
}

// pursue stops who was a member and is not any more, so that none forks while the
// others are killed, until it finds no new one below them.
func (c *tracked) pursue() {
	const rounds = 32
	for range rounds {
		members, _ := c.members()
		before := len(c.known)
		for _, p := range slices.Clone(c.known) {
			if slices.ContainsFunc(members, p.Same) || proctree.Signal(p, syscall.SIGSTOP) != nil {
				continue
			}
			below, _ := proctree.Descendants(p.PID)
			for _, d := range below {
				if !slices.ContainsFunc(c.known, d.Same) {
					c.known = append(c.known, d)
				}
			}
		}
		if len(c.known) == before {
			return
		}
	}
}

// signalMembers signals all but the supervisor, which ends when all have.
func (c *tracked) signalMembers(sig syscall.Signal) error {
	members, err := c.left()
	errs := []error{err}
	for _, p := range members {
		if c.proxy.PID == 0 || !p.Same(c.anchor) {
			errs = append(errs, ignoreDone(proctree.Signal(p, sig)))
		}
	}
	return errors.Join(errs...)
}

// left returns the members, and who was one and is alive.
func (c *tracked) left() ([]proctree.Process, error) {
	members, err := c.members()
	for _, p := range c.known {
		if slices.ContainsFunc(members, p.Same) {
			continue
		}
		if now, err := proctree.Lookup(p.PID); err == nil && now.Same(p) && !now.Zombie {
			members = append(members, p)
		}
	}
	return members, err
}

// count is the number of members without the supervisor, unless that is all there is.
func (c *tracked) count(members []proctree.Process) int {
	n := len(members)
	if n > 1 && c.proxy.PID != 0 && slices.ContainsFunc(members, c.anchor.Same) {
		n--
	}
	return n
}

// wait waits until nothing is left, and does again before each look.
func (c *tracked) wait(ctx context.Context, d time.Duration, again func() error) ([]proctree.Process, error) {
	const pause = 10 * time.Millisecond
	for deadline := time.Now().Add(d); ; {
		if again != nil {
			if err := again(); err != nil {
				return c.known, err
			}
		}
		members, err := c.left()
		if err != nil || len(members) == 0 || time.Now().After(deadline) {
			return members, err
		}
		select {
		case <-ctx.Done():
			return members, ctx.Err()
		case <-time.After(pause):
		}
	}
}
