package linux

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// thread is one that ends with the process. A parent-death signal is set for a thread, and
// a child's fires when the thread that forked it exits, PR_SET_PDEATHSIG(2const). This one is
// locked to its goroutine for good, so neither happens before the process ends.
type thread struct {
	called event
	work   func()
	asked  event
	done   event
	own    identity // the thread's; its namespaces are read by the first comparison, see compare
	ownErr error
}

// newThread starts one.
func newThread() *thread {
	t := new(thread)
	go t.live()
	return t
}

func (t *thread) live() {
	runtime.LockOSThread()
	for {
		t.called.wait()
		t.ownErr = errors.Join(t.own.links.read(namespacesFrom), t.own.readCredentials())
		t.asked.wait()
		t.work()
		t.done.set()
	}
}

// call wakes the thread up, for run. Both sides wait in the kernel, not for a channel: a
// goroutine that is locked to its thread hands its P to another thread each time it parks,
// and takes one back each time it goes on, which made a switch and back cost more than all
// else that Start adds.
func (t *thread) call() { t.called.set() }

// run runs f on the thread, which was called, and waits for it.
func (t *thread) run(f func()) {
	t.work = f
	t.asked.set()
	t.done.wait()
	t.work = nil
}

// threads are those that fork. There may be four, because where the processors are busy each
// change to a thread and back is a wait, and starts would wait for one another: eight at a
// time take up to a third less (BenchmarkThroughput).
type threads struct {
	busy chan struct{} // one for each at work
	mu   sync.Mutex
	idle []*thread // the one that worked last at the end
}

func init() { process.threads.busy = make(chan struct{}, 4) }

// take returns one that is idle, or a new one, and waits while four are at work.
func (s *threads) take() (t *thread) {
	s.busy <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	if last < 0 {
		return newThread()
	}
	s.idle, t = s.idle[:last], s.idle[last]
	return t
}

// give gives it back.
func (s *threads) give(t *thread) {
	s.mu.Lock()
	s.idle = append(s.idle, t)
	s.mu.Unlock()
	<-s.busy
}

// event is what one thread waits for and another sets, by futex(2).
type event struct{ is atomic.Uint32 }

// Of linux/futex.h, which x/sys/unix does not have.
const (
	futexWait = 0 | 128 // FUTEX_WAIT_PRIVATE
	futexWake = 1 | 128 // FUTEX_WAKE_PRIVATE
)

func (e *event) set() {
	e.is.Store(1)
	e.futex(futexWake, 1)
}

// wait returns when e is set, and resets it.
func (e *event) wait() {
	for !e.is.CompareAndSwap(1, 0) {
		e.futex(futexWait, 0) // woken, interrupted or too late to sleep: look again
	}
}

func (e *event) futex(op, value uintptr) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&e.is)), op, value, 0, 0, 0)
}

// identity is what a child inherits from the thread that forks it.
type identity struct {
	links      links
	uids, gids [3]int
	fsuid      int
	groups     []int
	caps       [2]unix.CapUserData
}

// links are what the links below /proc/thread-self say, of which those of
// namespaces name kind and inode, namespaces(7).
type links [len(inherited)]string

var inherited = [...]string{
	"cwd", "root",
	"ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid_for_children", "ns/time_for_children", "ns/user", "ns/uts",
}

// namespacesFrom is where those of namespaces begin.
const namespacesFrom = 2

// read fills in the first n links of the calling thread, which must be locked. A
// link that cannot be read (no such namespace in this kernel) is "".
func (l *links) read(n int) error {
	// Relative to one descriptor: /proc/thread-self is a link, whose walk costs
	// more than what is read behind it.
	self, err := unix.Open("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/thread-self: %w; is /proc mounted?", err)
	}
	defer unix.Close(self)
	var buf [unix.PathMax]byte
	for i, name := range inherited[:n] {
		n, err := unix.Readlinkat(self, name, buf[:])
		if err != nil {
			n = 0
		}
		l[i] = string(buf[:n])
	}
	return nil
}

// readCredentials is read's like for the rest.
func (id *identity) readCredentials() (err error) {
	id.uids[0], id.uids[1], id.uids[2] = unix.Getresuid()
	id.gids[0], id.gids[1], id.gids[2] = unix.Getresgid()
	id.fsuid, _ = unix.SetfsuidRetUid(-1)
	if id.groups, err = unix.Getgroups(); err != nil {
		return os.NewSyscallError("getgroups", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&hdr, &id.caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	return nil
}

// sameAsThread says how the calling thread differs from the one that forks
// backends, or nil.
func sameAsThread() error { return onThreadAs(func() {}) }

// onThreadAs runs f on a thread that forks, if that is the same as the calling one. If it
// differs, f is not run, and the error says how. It is one call, because each
// switch to the thread and back costs more than the comparison.
func onThreadAs(f func()) error {
	t := process.threads.take()
	defer process.threads.give(t)
	t.call() // to wake up takes as long as what follows: a twentieth of a start
	var mine identity
	runtime.LockOSThread()
	err := errors.Join(mine.links.read(len(inherited)), mine.readCredentials())
	runtime.UnlockOSThread()
	if err == nil && mine.links[slices.Index(inherited[:], "ns/mnt")] == "" {
		err = errors.New("read /proc/thread-self/ns: is /proc mounted?")
	}
	t.run(func() {
		if err == nil {
			err = t.compare(&mine)
		}
		if err == nil {
			f()
		}
	})
	return err
}

// compare says how mine differs from the identity of the calling thread, the one that
// forks, or nil. That thread's namespaces are remembered, because reading them costs as
// much as all the rest: nothing here moves it to others, and only
// syscall.AllThreadsSyscall can, which moves the caller too, who then differs from what is
// remembered.
func (t *thread) compare(mine *identity) error {
	if t.ownErr == nil && [len(inherited) - namespacesFrom]string(mine.links[namespacesFrom:]) != [len(inherited) - namespacesFrom]string(t.own.links[namespacesFrom:]) {
		t.ownErr = t.own.links.read(len(inherited))
	}
	if t.ownErr != nil {
		return t.ownErr
	}
	return mine.differs(&t.own)
}

// differs says how the caller's identity differs from the forking thread's, or nil.
func (mine *identity) differs(its *identity) error {
	for i, name := range inherited {
		if mine.links[i] != its.links[i] {
			return fmt.Errorf("the calling thread has %s %q, the thread that forks backends has %q; unshare or setns in the command instead (SysProcAttr.Unshareflags, nsenter)", name, mine.links[i], its.links[i])
		}
	}
	if mine.uids != its.uids || mine.gids != its.gids || mine.fsuid != its.fsuid || !slices.Equal(mine.groups, its.groups) || mine.caps != its.caps {
		return fmt.Errorf("the calling thread has other credentials than the thread that forks backends (uids %v and %v, gids %v and %v); use SysProcAttr.Credential", mine.uids, its.uids, mine.gids, its.gids)
	}
	return nil
}
