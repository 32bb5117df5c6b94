// Package standin implements the table of package xnu on Linux, for tests: the code
// of the kqueue supervisor then runs against real processes without a Mac. What is
// shown so is shown of that code, and of nothing that XNU does.
//
// What Linux lacks is made from two things: the process-event connector (cn_proc.c),
// which says who forked whom to root in the first PID and user namespaces, and /proc. It forgets as XNU does: a process that nobody saw in the
// table has a number that nobody knows, and an exec after an adoption makes the
// adopter the parent (macOS 13 and later; the ParentVersion of 15.4 is not there).
//
// Its numbers rest on events, and events can be lost. So nothing is signalled that
// does not execute a file of this test, and never but by a pidfd.
package standin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// Table is the stand-in. Its lineage begins with Watch.
type Table struct {
	mu      sync.Mutex
	socket  int // 0: nothing is watched
	lost    bool
	records map[int]*record
	born    []*record // since Watch, the oldest first
	forks   uint64
	want    map[int]xnu.Notes
	pending []xnu.Event
	ready   chan struct{}
}

// record is what the events have told of a process.
type record struct {
	pid    int
	number uint64 // its Unique; 0 for strangers that are older than the queue
	parent *record
	adopt  bool // its parent has exited, and it has executed something since
	dead   bool
}

// New returns a table that watches nothing yet.
func New() *Table {
	return &Table{records: make(map[int]*record), want: make(map[int]xnu.Notes), ready: make(chan struct{}, 1)}
}

// firstBorn is the least number of a process that was born since Watch. What is older has
// a number made of what identifies a process on Linux, which every table knows.
const firstBorn = 1 << 63

// older makes the number of a process that no fork event was seen of. PID_MAX_LIMIT is 1<<22.
func older(pid int, start uint64) uint64 { return start<<22 | uint64(pid) }

// stat is a line of /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	pid, ppid, pgid int
	start           uint64
	name            string
	zombie          bool
}

func readStat(pid int) (s stat, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return s, os.ErrProcessDone
	}
	if err != nil {
		return s, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if open < 0 || end < open || len(fields) < 20 {
		return s, fmt.Errorf("malformed /proc/%d/stat: %q", pid, b)
	}
	s = stat{pid: pid, name: string(b[open+1 : end]), zombie: fields[0] == "Z" || fields[0] == "X"}
	s.ppid, _ = strconv.Atoi(fields[1])
	s.pgid, _ = strconv.Atoi(fields[2])
	s.start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err
}

// Each implements [xnu.Table]. The events are the table: who is older than the queue can
// be no member and is left out. /proc is not asked, since whoever reads an entry there
// waits for everybody else on the host who looks it up, for 20 ms beside many others.
func (t *Table) Each(visit func(xnu.Process)) error {
	t.mu.Lock()
	watched, lost := t.socket != 0, t.lost
	t.drain()
	t.born = slices.DeleteFunc(t.born, func(r *record) bool { return t.records[r.pid] != r })
	born := slices.Clone(t.born)
	t.mu.Unlock()
	if !watched || lost {
		return t.eachOfProc(visit)
	}
	for _, r := range slices.Backward(born) {
		if p, ok := t.bornSince(r); ok {
			visit(p)
		}
	}
	return nil
}

// bornSince returns the process of a record, unless it is gone.
func (t *Table) bornSince(r *record) (p xnu.Process, ok bool) {
	pgid, err := unix.Getpgid(r.pid) // of a zombie, too
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	current := t.records[r.pid] == r
	if current && r.dead && err == unix.ESRCH { // its parent has waited for it
		delete(t.records, r.pid)
	}
	p = xnu.Process{PID: r.pid, PGID: pgid, Unique: r.number, Parent: r.parentNumber(), Born: r.number, Zombie: r.dead}
	return p, current && err == nil
}

// eachOfProc is Each for a process that watches nothing, or that has missed something:
// then it knows nobody any more, and a drill fails.
func (t *Table) eachOfProc(visit func(xnu.Process)) error {
	names, err := filepath.Glob("/proc/[0-9]*")
	for _, name := range slices.Backward(names) {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		p, err := t.Lookup(pid)
		if errors.Is(err, os.ErrProcessDone) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the process table: %w", err)
		}
		visit(p)
	}
	return err
}

// parentNumber is what XNU has as p_puniqueid: the adopter's is not known here.
func (r *record) parentNumber() uint64 {
	if r.parent == nil || r.adopt {
		return 0
	}
	return r.parent.number
}

// Lookup implements [xnu.Table]. It does not ask /proc either for who was born since Watch.
func (t *Table) Lookup(pid int) (xnu.Process, error) {
	for {
		before := t.record(pid)
		if before != nil && before.number != 0 && before.parent != nil {
			if p, ok := t.bornSince(before); ok {
				return p, nil
			}
			return xnu.Process{}, fmt.Errorf("look up process %d: %w", pid, os.ErrProcessDone)
		}
		s, err := readStat(pid)
		if err != nil {
			return xnu.Process{}, fmt.Errorf("look up process %d: %w", pid, err)
		}
		if after := t.record(pid); after != before {
			continue // another has the PID by now
		}
		p := xnu.Process{PID: s.pid, PPID: s.ppid, PGID: s.pgid, Name: s.name, Zombie: s.zombie, Unique: older(pid, s.start)}
		if parent, err := readStat(s.ppid); err == nil {
			p.Parent = older(parent.pid, parent.start)
		}
		p.Born = p.Unique
		return p, nil
	}
}

// record returns what is known of the process that has that PID now: who is anywhere to be
// seen has been announced before.
func (t *Table) record(pid int) *record {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	return t.records[pid]
}

// Signal implements [xnu.Table].
func (t *Table) Signal(p xnu.Process, sig syscall.Signal) error {
	fail := func(err error) error {
		return fmt.Errorf("send signal %d to process %d (%s): %w", int(sig), p.PID, p.Name, err)
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == unix.ESRCH {
		return fail(os.ErrProcessDone)
	}
	if err != nil {
		return fail(os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(fd)
	now, err := t.Lookup(p.PID)
	if err == nil && (now.Zombie || !now.Same(p)) {
		err = os.ErrProcessDone
	}
	if err == nil {
		err = ofThisTest(p.PID)
	}
	if err != nil {
		return fail(err)
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err == unix.ESRCH {
		return fail(os.ErrProcessDone)
	} else if err != nil {
		return fail(os.NewSyscallError("pidfd_send_signal", err))
	}
	return nil
}

// ofThisTest refuses strangers, whatever their lineage seems to be.
func ofThisTest(pid int) error {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	exe, own = strings.TrimSuffix(exe, " (deleted)"), strings.TrimSuffix(own, " (deleted)")
	if exe != own && !strings.HasPrefix(filepath.Base(exe), "contain-drill-") {
		return fmt.Errorf("it executes %s, which is not of this test", exe)
	}
	return nil
}

// Pipe implements [xnu.Table].
func (t *Table) Pipe(fd int) (xnu.Pipe, error) { return pipeOf(os.Getpid(), strconv.Itoa(fd)) }

// pipeOf returns the pipe that is open for writing, or 0 for what is no pipe.
func pipeOf(pid int, fd string) (xnu.Pipe, error) {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd))
	if err != nil {
		return 0, err
	}
	number, ok := strings.CutPrefix(link, "pipe:[")
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return xnu.Pipe(n), err
}

// Holds implements [xnu.Table].
func (t *Table) Holds(pid int, end xnu.Pipe) bool {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return false
	}
	defer dir.Close()
	fds, _ := dir.Readdirnames(-1)
	for _, fd := range slices.Backward(fds) {
		if p, err := pipeOf(pid, fd); err == nil && p == end {
			return true
		}
	}
	return false
}

// PeerUID implements [xnu.Table].
func (t *Table) PeerUID(fd int) (uint32, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return c.Uid, nil
}

// Argv0 implements [xnu.Table]. It is not that of the supervisors of Linux, which
// are in every program of this module.
func (t *Table) Argv0() string { return "contain-standin" }

// Become implements [xnu.Table].
func (t *Table) Become() {
	_ = os.WriteFile("/proc/self/comm", []byte("contain-supervisor"), 0)
	oneCPU()
	first(unix.SCHED_FLAG_RESET_ON_FORK)
}

// oneCPU keeps this process, and the tree that inherits it, on one processor. So no
// process of the tree goes on between an event and the look that the supervisor, being
// first, takes at it; whether a Mac is quick enough for a process that escapes both marks
// is luck there, and is not what the drills are about.
func oneCPU() {
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() == 0 {
		return
	}
	nth := os.Getppid() % all.Count()
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			if nth == 0 {
				one.Set(cpu)
				break
			}
			nth--
		}
	}
	for _, tid := range threads() {
		_ = unix.SchedSetaffinity(tid, &one)
	}
}

// threads lists those of this process.
func threads() (tids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/[0-9]*")
	for _, task := range tasks {
		if tid, err := strconv.Atoi(filepath.Base(task)); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}

// Hurry implements [xnu.Table].
func (t *Table) Hurry() { first(0) }

// first has every thread of this process scheduled before all others: a test may run
// beside hundreds of runnable processes, of which none is to stand between a fork and
// the look at it. The supervisor forks the leader, which is not to inherit this, and
// after that threads only, which are.
func first(flags uint64) {
	for _, tid := range threads() {
		attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: flags, Priority: 1}
		_ = unix.SchedSetAttr(tid, attr, 0)
	}
}

// Watch implements [xnu.Table].
func (t *Table) Watch() (xnu.Queue, error) {
	fd, err := connect()
	if err != nil {
		return nil, fmt.Errorf("listen to process events: %w", err)
	}
	self, err := readStat(os.Getpid())
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.socket = fd
	t.records[self.pid] = &record{pid: self.pid, number: older(self.pid, self.start)}
	t.mu.Unlock()
	go t.read(fd)
	return queue{t}, nil
}

// read takes events off the socket as they come, so that none is lost for want of room.
func (t *Table) read(fd int) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		t.mu.Lock()
		t.drain()
		t.mu.Unlock()
	}
}

type queue struct{ t *Table }

// Add implements [xnu.Queue].
func (q queue) Add(pid int, _ xnu.Filter, notes xnu.Notes) error {
	q.t.mu.Lock()
	q.t.want[pid] = notes
	q.t.mu.Unlock()
	if s, err := readStat(pid); err != nil || s.zombie {
		q.t.mu.Lock()
		delete(q.t.want, pid)
		q.t.mu.Unlock()
		return fmt.Errorf("watch process %d: %w", pid, unix.ESRCH)
	}
	return nil
}

// Wait implements [xnu.Queue].
func (q queue) Wait() ([]xnu.Event, error) {
	<-q.t.ready
	q.t.mu.Lock()
	defer q.t.mu.Unlock()
	events := q.t.pending
	q.t.pending = nil
	return events, nil
}

// Close implements [xnu.Queue].
func (q queue) Close() {}

// The connector, <linux/connector.h> and <linux/cn_proc.h>.
const (
	idProc = 1 // CN_IDX_PROC and CN_VAL_PROC
	listen = 1 // PROC_CN_MCAST_LISTEN

	eventFork = 1
	eventExec = 2
	eventExit = 0x80000000

	netlinkHeader   = 16
	connectorHeader = 20
	eventHeader     = 16
)

// firstPIDNamespace is PROC_PID_INIT_INO of <linux/proc_ns.h>.
const firstPIDNamespace = "pid:[4026531836]"

func connect() (fd int, err error) {
	if os.Geteuid() != 0 {
		return -1, fmt.Errorf("%w: it takes root", errors.ErrUnsupported)
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != firstPIDNamespace {
		return -1, fmt.Errorf("%w: events have the PIDs of the first PID namespace, this process is in %q (%v)", errors.ErrUnsupported, ns, err)
	}
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: idProc}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}
	b := make([]byte, netlinkHeader+connectorHeader+4)
	e := binary.NativeEndian
	e.PutUint32(b[0:], uint32(len(b)))
	e.PutUint16(b[4:], unix.NLMSG_DONE)
	e.PutUint32(b[netlinkHeader:], idProc)
	e.PutUint32(b[netlinkHeader+4:], idProc)
	e.PutUint16(b[netlinkHeader+16:], 4)
	e.PutUint32(b[netlinkHeader+connectorHeader:], listen)
	if err = unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, os.NewSyscallError("sendto", err)
	}
	return fd, acknowledged(fd)
}

// acknowledged waits for the answer. There is none in a user namespace other than the first.
func acknowledged(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 5000)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("%w: no answer; it takes the first user namespace", errors.ErrUnsupported)
		default:
			return nil
		}
	}
}

// drain applies every event that has arrived.
func (t *Table) drain() {
	if t.socket == 0 {
		return
	}
	var b [4096]byte
	for {
		n, _, err := unix.Recvfrom(t.socket, b[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.ENOBUFS: // what was lost cannot be told: trust nothing
			t.lost = true
			t.note(0, 0)
		case err != nil:
			return
		default:
			t.apply(b[:n])
		}
	}
}

func (t *Table) apply(b []byte) {
	if len(b) < netlinkHeader+connectorHeader+eventHeader+8 {
		return
	}
	b = b[netlinkHeader+connectorHeader:]
	what, data := binary.NativeEndian.Uint32(b), b[eventHeader:]
	field := func(i int) int {
		if len(data) < 4*i+4 {
			return -1
		}
		return int(int32(binary.NativeEndian.Uint32(data[4*i:])))
	}
	switch what {
	case eventFork: // parent's PID and thread group, child's PID and thread group
		if parent, child := field(1), field(3); field(2) == child {
			t.forks++
			r := &record{pid: child, parent: t.known(parent), number: firstBorn + t.forks}
			t.records[child] = r
			t.born = append(t.born, r)
			t.note(parent, xnu.NoteFork)
		}
	case eventExec:
		pid := field(1)
		r := t.known(pid)
		r.adopt = r.adopt || r.parent != nil && r.parent.dead
		t.note(pid, xnu.NoteExec)
	case eventExit:
		if pid := field(1); field(0) == pid { // the last thread, or the first: see the end of it in /proc
			t.known(pid).dead = true
			t.note(pid, xnu.NoteExit)
			delete(t.want, pid)
		}
	}
}

func (t *Table) known(pid int) *record {
	r := t.records[pid]
	if r == nil {
		r = &record{pid: pid}
		t.records[pid] = r
	}
	return r
}

// note reports what somebody waits for.
func (t *Table) note(pid int, n xnu.Notes) {
	if pid != 0 && t.want[pid]&n == 0 {
		return
	}
	t.pending = append(t.pending, xnu.Event{PID: pid, Notes: n})
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Works says why there can be no stand-in here, or nil.
func Works() error {
	fd, err := connect()
	if err != nil {
		return fmt.Errorf("listen to process events: %w", err)
	}
	return os.NewSyscallError("close", unix.Close(fd))
}
