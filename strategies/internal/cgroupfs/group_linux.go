package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Group is a cgroup, by the path of its directory.
type Group string

// Sub returns the group name below g.
func (g Group) Sub(name string) Group { return Group(filepath.Join(string(g), name)) }

func (g Group) file(name string) string { return string(g) + "/" + name }

// Make creates the group.
func (g Group) Make() error { return g.make(0o755) }

func (g Group) make(mode os.FileMode) error {
	err := os.Mkdir(string(g), mode)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: cgroup.max.descendants or cgroup.max.depth of a cgroup above is reached; raise it", err)
	}
	return err
}

// write writes to one of g's files. Not os.WriteFile: asked to create a file
// that is missing, this file system answers EACCES.
func (g Group) write(name, value string) error {
	f, err := os.OpenFile(g.file(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// killFile is a variable so that tests can do without it.
var killFile = "cgroup.kill"

// Kill sends SIGKILL to every process in g and below, whatever its uid and even
// if it is stopped or forking, by cgroup.kill (Linux 5.14). Older kernels, and a
// group that a backend has made threaded (EOPNOTSUPP), have it done by freezing
// and signalling, which needs the right to signal each.
func (g Group) Kill() error {
	err := g.write(killFile, "1")
	if gone(err) {
		if _, err := os.Stat(string(g)); err != nil {
			return nil
		}
	} else if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return g.killFrozen()
}

// killFrozen stops the group, so that nobody forks while its members are read,
// and kills them. A frozen process of version 2 dies of SIGKILL at once.
func (g Group) killFrozen() error {
	if err := g.write("cgroup.freeze", "1"); err != nil {
		return err
	}
	defer g.write("cgroup.freeze", "0")
	// One that cannot be frozen, because it sleeps in the kernel, does not fork.
	_ = g.waitFor("frozen 1", time.Now().Add(freezeLimit))
	return g.Signal(unix.SIGKILL)
}

const freezeLimit = 100 * time.Millisecond

// gone reports whether err says that a group is no more: its directory, or the
// group behind a file that was opened before.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// Signal sends sig to every process in g and below. Those that come while it
// goes on may be missed.
func (g Group) Signal(sig unix.Signal) error {
	pids, err := g.PIDs()
	for _, pid := range pids {
		if e := g.signal(pid, sig); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("signal process %d: %w", pid, e))
		}
	}
	return err
}

// signal sends sig to pid if it still is a member.
func (g Group) signal(pid int, sig unix.Signal) error {
	return g.pinned(pid, func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
}

// MoveTo moves every process in g and below to another group. Who forks
// meanwhile may leave a child behind.
func (g Group) MoveTo(to Group) error {
	pids, err := g.PIDs()
	for _, pid := range pids {
		e := g.pinned(pid, func(int) error { return to.write("cgroup.procs", strconv.Itoa(pid)) })
		if e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("move process %d to %s: %w", pid, to, e))
		}
	}
	return err
}

// pinned calls f for pid if it still is a member: a pidfd pins the process first,
// then its cgroup is asked for, so that a reused PID is not hit.
func (g Group) pinned(pid int, f func(fd int) error) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return unix.ESRCH
	}
	if path, ok := unified(b); !ok || !strings.Contains(path+"/", g.suffix()) {
		return unix.ESRCH
	}
	return f(fd)
}

// suffix is the end of g's path that tells it from every other group: from the
// owner's tree on, whose name has random digits. What is above differs between
// the mount and /proc, and between cgroup namespaces.
func (g Group) suffix() string {
	i := max(0, strings.LastIndex(string(g), "/"+Prefix))
	return string(g)[i:] + "/"
}

// PIDs returns the processes in g and below. A zombie is not in its group's list.
func (g Group) PIDs() ([]int, error) {
	b, err := os.ReadFile(g.file("cgroup.procs"))
	if errors.Is(err, unix.EOPNOTSUPP) { // threaded: it has only threads, the first of a process among them
		b, err = os.ReadFile(g.file("cgroup.threads"))
	}
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range bytes.Fields(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	for _, sub := range g.subs() {
		below, err := sub.PIDs()
		if err != nil {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}

func (g Group) subs() []Group {
	entries, err := os.ReadDir(string(g))
	if err != nil {
		return nil
	}
	var subs []Group
	for _, e := range entries {
		if e.IsDir() {
			subs = append(subs, g.Sub(e.Name()))
		}
	}
	return subs
}

// WaitEmpty waits until no process is in g or below, forever if deadline is
// zero. The error wraps os.ErrDeadlineExceeded if the deadline passes.
func (g Group) WaitEmpty(deadline time.Time) error { return g.waitFor("populated 0", deadline) }

// waitFor waits until cgroup.events has line, or g is gone. poll(2) reports
// changes of that file, so a wait costs a goroutine and no thread.
func (g Group) waitFor(line string, deadline time.Time) error {
	f, err := os.Open(g.file("cgroup.events"))
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.SetReadDeadline(deadline); err != nil {
		return err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var rerr error
	err = conn.Read(func(fd uintptr) bool {
		var met bool
		met, rerr = readEvent(int(fd), line)
		return met || rerr != nil
	})
	return errors.Join(err, rerr)
}

// readEvent reports whether the cgroup.events open as fd has line, or its group
// is gone.
func readEvent(fd int, line string) (bool, error) {
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if gone(err) {
		return true, nil
	}
	if err != nil {
		return false, os.NewSyscallError("read cgroup.events", err)
	}
	return bytes.Contains(buf[:n], []byte(line)), nil
}

// Remove removes g and what a backend made below it. It fails with EBUSY while
// a process is inside; a zombie does not count.
func (g Group) Remove() error {
	err := unix.Rmdir(string(g))
	if err == unix.EBUSY || err == unix.ENOTEMPTY {
		for _, sub := range g.subs() {
			if err := sub.Remove(); err != nil {
				return err
			}
		}
		err = unix.Rmdir(string(g))
	}
	if err == nil || err == unix.ENOENT || err == unix.ENODEV {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: string(g), Err: err}
}

// End kills what is in g, waits for it, and removes g. It tries until the
// deadline, and then returns what was in the way last; at once, if that is that
// this process may not.
func (g Group) End(deadline time.Time) error {
	for {
		if err := g.Remove(); err == nil || errors.Is(err, os.ErrPermission) { // nil also in the common case: nobody was left
			return err
		}
		err := g.Kill()
		if err == nil {
			// In steps, because before cgroup.kill one may have been missed.
			err = g.WaitEmpty(sooner(time.Now().Add(time.Second), deadline))
		}
		if err == nil {
			err = g.Remove()
		}
		if err == nil || errors.Is(err, os.ErrPermission) || !time.Now().Before(deadline) {
			return err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) { // that has taken its time
			time.Sleep(retryPause)
		}
	}
}

const retryPause = 5 * time.Millisecond

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
