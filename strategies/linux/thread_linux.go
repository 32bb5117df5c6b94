package linux

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A parent-death signal is set for a thread, and a child's fires when the
// thread that forked it exits, PR_SET_PDEATHSIG(2const). This thread is locked
// to its goroutine for good, so neither happens before the process ends.
var thread struct {
	once sync.Once
	work chan func()
}

// onThread runs f on that thread and waits for it.
func onThread(f func()) {
	thread.once.Do(func() {
		thread.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range thread.work {
				f()
			}
		}()
	})
	done := make(chan struct{})
	thread.work <- func() { defer close(done); f() }
	<-done
}

// identity is what a child inherits from the thread that forks it. The
// namespaces come by their links, which name kind and inode, namespaces(7).
type identity struct {
	links      [len(inherited)]string
	uids, gids [3]int
	fsuid      int
	groups     []int
	caps       [2]unix.CapUserData
}

var inherited = [...]string{
	"ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid_for_children", "ns/time_for_children", "ns/user", "ns/uts",
	"cwd", "root",
}

// threadIdentity reads that of the calling thread, which must be locked. A link
// that cannot be read (no such namespace in this kernel) is "".
func threadIdentity() (id identity, err error) {
	// Relative to one descriptor: /proc/thread-self is a link, whose walk costs
	// more than all that is read behind it.
	self, err := unix.Open("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		var buf [unix.PathMax]byte
		for i, name := range inherited {
			if n, err := unix.Readlinkat(self, name, buf[:]); err == nil {
				id.links[i] = string(buf[:n])
			}
		}
		_ = unix.Close(self)
	}
	if id.links[slices.Index(inherited[:], "ns/mnt")] == "" {
		return id, fmt.Errorf("read /proc/thread-self/ns: is /proc mounted?")
	}
	id.uids[0], id.uids[1], id.uids[2] = unix.Getresuid()
	id.gids[0], id.gids[1], id.gids[2] = unix.Getresgid()
	id.fsuid, _ = unix.SetfsuidRetUid(-1)
	if id.groups, err = unix.Getgroups(); err != nil {
		return id, os.NewSyscallError("getgroups", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&hdr, &id.caps[0]); err != nil {
		return id, os.NewSyscallError("capget", err)
	}
	return id, nil
}

// sameAsThread says how the calling thread differs from the one that forks
// backends, or nil.
func sameAsThread() error { return onThreadAs(func() {}) }

// onThreadAs is onThread for a thread that is the same as the calling one. If it
// differs, f is not run, and the error says how. It is one call, because each
// switch to the thread and back costs more than the comparison.
func onThreadAs(f func()) error {
	runtime.LockOSThread()
	mine, err := threadIdentity()
	runtime.UnlockOSThread()
	if err != nil {
		return err
	}
	onThread(func() {
		var its identity
		if its, err = threadIdentity(); err == nil {
			err = mine.differs(&its)
		}
		if err == nil {
			f()
		}
	})
	return err
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
