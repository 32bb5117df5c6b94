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
func (g Group) Make() error {
	err := os.Mkdir(string(g), 0o755)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: cgroup.max.descendants or cgroup.max.depth of a cgroup above is reached; raise it", err)
	}
	return err
}

// Kill sends SIGKILL to every process in g and below, whatever its uid and even
// if it is stopped or forking, by cgroup.kill (Linux 5.14). Older kernels have
// it done by freezing and signalling, which needs the right to signal each.
func (g Group) Kill() error {
	err := os.WriteFile(g.file("cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		if _, gone := os.Stat(string(g)); gone != nil {
			return nil
		}
		return g.killFrozen()
	}
	return err
}

// killFrozen stops the group, so that nobody forks while its members are read,
// and kills them. A frozen process of version 2 dies of SIGKILL at once.
func (g Group) killFrozen() error {
	freeze := func(v string) error { return os.WriteFile(g.file("cgroup.freeze"), []byte(v), 0) }
	if err := freeze("1"); err != nil {
		return err
	}
	defer freeze("0")
	return g.Signal(unix.SIGKILL)
}

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

// signal sends sig to pid if it still is a member: a pidfd pins the process
// first, then its cgroup is asked for, so that a reused PID is not hit.
func (g Group) signal(pid int, sig unix.Signal) error {
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
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// suffix is the end of g's path that tells it from every other group: that of
// its owner's tree, which has random digits, and its own.
func (g Group) suffix() string {
	dir, base := filepath.Split(string(g))
	return "/" + filepath.Base(dir) + "/" + base + "/"
}

// PIDs returns the processes in g and below. A zombie is not in its group's list.
func (g Group) PIDs() ([]int, error) {
	b, err := os.ReadFile(g.file("cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
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

// WaitEmpty waits until no process is in g or below: for "populated 0" in
// cgroup.events, whose changes poll reports. It costs a goroutine, not a thread.
func (g Group) WaitEmpty(deadline time.Time) error {
	f, err := os.Open(g.file("cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if !deadline.IsZero() {
		if err := f.SetReadDeadline(deadline); err != nil {
			return pollEmpty(g, deadline)
		}
	}
	var empty bool
	var rerr error
	err = conn.Read(func(fd uintptr) bool {
		empty, rerr = readEmpty(int(fd))
		return empty || rerr != nil
	})
	return errors.Join(err, rerr)
}

// pollEmpty is WaitEmpty where the netpoller does not take cgroup.events.
func pollEmpty(g Group, deadline time.Time) error {
	for time.Now().Before(deadline) {
		if empty, err := g.Empty(); empty || err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return os.ErrDeadlineExceeded
}

// Empty reports whether no process is in g or below.
func (g Group) Empty() (bool, error) {
	f, err := os.Open(g.file("cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	return readEmpty(int(f.Fd()))
}

func readEmpty(fd int) (bool, error) {
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err == unix.ENODEV { // the group was removed
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return bytes.Contains(buf[:n], []byte("populated 0")), nil
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

// End kills what is in g, waits for it, and removes g.
func (g Group) End(deadline time.Time) error {
	if g.Remove() == nil {
		return nil
	}
	for {
		if err := g.Kill(); err != nil {
			return err
		}
		step := time.Now().Add(time.Second)
		if deadline.Before(step) {
			step = deadline
		}
		err := g.WaitEmpty(step)
		if err == nil {
			if err = g.Remove(); err == nil {
				return nil
			}
		}
		if !time.Now().Before(deadline) {
			return err
		}
	}
}
