package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stat is what is read of /proc/PID/stat.
type stat struct {
	Process
	flags   uint64
	threads int
}

// parseStat reads a line of /proc/PID/stat, proc_pid_stat(5). The name stands in
// parentheses and may itself contain any byte, ')' and spaces included, so the
// last ')' ends it: all that follows is numbers, but for the state.
func parseStat(line []byte) (stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return stat{}, fmt.Errorf("malformed stat line %q", line)
	}
	fields := bytes.Fields(line[end+1:])
	const state, ppid, pgid, flags, threads, start = 0, 1, 2, 6, 17, 19 // fields 3, 4, 5, 9, 20 and 22
	if len(fields) <= start {
		return stat{}, fmt.Errorf("short stat line %q", line)
	}
	var s stat
	var errs [6]error
	s.PID, errs[0] = strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	s.PPID, errs[1] = strconv.Atoi(string(fields[ppid]))
	s.PGID, errs[4] = strconv.Atoi(string(fields[pgid]))
	s.threads, errs[2] = strconv.Atoi(string(fields[threads]))
	s.Start, errs[3] = strconv.ParseUint(string(fields[start]), 10, 64)
	s.flags, errs[5] = strconv.ParseUint(string(fields[flags]), 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return stat{}, fmt.Errorf("malformed stat line %q: %w", line, err)
	}
	s.Name = string(line[open+1 : end])
	switch fields[state][0] {
	case 'X', 'x':
		s.Zombie = true
	case 'Z': // a first thread that has exited also shows as Z while others run
		s.Zombie = s.threads <= 1
	}
	return s, nil
}

// Executed reports whether a child of this process, which has not been collected yet, has
// come to its exec, and false only of one that is dead. Until it has a process bears
// PF_FORKNOEXEC (proc_pid_stat(5), Linux' include/linux/sched.h). Linux 6.1 was seen to
// close descriptors for the exec first and to take that flag away later, so one that lives
// and bears it is looked at again.
func Executed(child int) (bool, error) {
	const forkNoExec = 0x40
	r := newReader()
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		s, err := r.stat(child)
		if err != nil || s.flags&forkNoExec == 0 || s.Zombie {
			return s.flags&forkNoExec == 0, err
		}
		time.Sleep(pause)
	}
}

// reader reads many small files of /proc with one buffer.
type reader struct {
	path []byte
	buf  []byte
}

func newReader() *reader { return &reader{buf: make([]byte, 4096)} }

func (r *reader) open(parts ...string) (fd int, err error) {
	r.path = r.path[:0]
	for _, p := range parts {
		r.path = append(r.path, p...)
	}
	for {
		if fd, err = unix.Open(string(r.path), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != unix.EINTR {
			return fd, err
		}
	}
}

// read returns the whole of a file, which is valid until the next read.
func (r *reader) read(parts ...string) ([]byte, error) {
	fd, err := r.open(parts...)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for n := 0; ; {
		m, err := readFD(fd, r.buf[n:])
		if err != nil || m == 0 {
			return r.buf[:n], err
		}
		if n += m; n == len(r.buf) {
			r.buf = append(r.buf, make([]byte, n)...)
		}
	}
}

func readFD(fd int, b []byte) (int, error) {
	for {
		if n, err := unix.Read(fd, b); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func (r *reader) stat(pid int) (stat, error) {
	fd, err := r.open("/proc/", strconv.Itoa(pid), "/stat")
	if err != nil {
		return stat{}, gone(err)
	}
	defer unix.Close(fd)
	n, err := readFD(fd, r.buf) // the kernel writes it in one piece
	if err != nil {
		return stat{}, gone(err)
	}
	return parseStat(r.buf[:n])
}

// gone maps the answers for a process that is not there: ENOENT on open,
// ESRCH on read.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func lookup(pid int) (Process, error) {
	s, err := newReader().stat(pid)
	return s.Process, err
}

// descendants asks each process for its children. That costs in proportion to
// the tree, where a scan of /proc costs in proportion to the host.
func descendants(root int) ([]Process, error) {
	r := newReader()
	top, err := r.stat(root)
	if err != nil {
		return nil, err
	}
	found, err := r.children(top)
	if err == errNoChildrenFile {
		table, err := r.all()
		return Below(table, root), err
	}
	for i := 0; i < len(found) && err == nil; i++ {
		var more []stat
		if more, err = r.children(found[i]); err == nil {
			found = append(found, more...)
		}
	}
	if err != nil {
		return nil, err
	}
	return processes(found), nil
}

func processes(stats []stat) []Process {
	ps := make([]Process, len(stats))
	for i, s := range stats {
		ps[i] = s.Process
	}
	return ps
}

// errNoChildrenFile: the kernel lacks CONFIG_PROC_CHILDREN.
var errNoChildrenFile = errors.New("no /proc/PID/task/TID/children")

// rereads bounds how often a list of children is read again because one of
// them went away meanwhile.
const rereads = 8

// children returns the children of parent, and none once it is gone. The kernel
// may leave out a child if a sibling goes away while it writes the list
// (proc_tid_children(5)), so such a list is read again.
func (r *reader) children(parent stat) ([]stat, error) {
	for try := 0; ; try++ {
		found, complete, err := r.childrenOnce(parent)
		if err != nil || complete || try == rereads {
			return found, err
		}
	}
}

func (r *reader) childrenOnce(parent stat) (found []stat, complete bool, err error) {
	pids, complete, err := r.childPIDs(parent)
	if err != nil {
		return nil, true, err
	}
	for _, pid := range pids {
		switch s, err := r.stat(pid); {
		case err == nil && s.PPID == parent.PID:
			found = append(found, s)
		case err == nil, err == os.ErrProcessDone:
			complete = false
		default:
			return nil, true, err
		}
	}
	return found, complete, nil
}

// childPIDs reads the lists of children of all threads: a child belongs to the
// thread that forked it, and to another of the process once that one is gone.
func (r *reader) childPIDs(parent stat) (pids []int, complete bool, err error) {
	pid := strconv.Itoa(parent.PID)
	tids, complete := []string{pid}, true
	if parent.threads > 1 {
		if tids, complete, err = threads(pid); gone(err) == os.ErrProcessDone {
			return nil, true, nil
		} else if err != nil {
			return nil, true, err
		}
	}
	for _, tid := range tids {
		list, err := r.read("/proc/", pid, "/task/", tid, "/children")
		switch {
		case err == unix.ENOENT && r.present(pid, tid):
			return nil, true, errNoChildrenFile
		case gone(err) == os.ErrProcessDone:
			complete = complete && len(tids) == 1
		case err != nil:
			return nil, true, err
		}
		for _, f := range bytes.Fields(list) {
			child, err := strconv.Atoi(string(f))
			if err != nil {
				return nil, true, fmt.Errorf("list of children of %s: %w", pid, err)
			}
			pids = append(pids, child)
		}
	}
	return pids, complete, nil
}

// threads returns those of a process, and whether that may be all. The kernel ends the list
// early, without a word, where the thread that is next has just ended (next_tid,
// fs/proc/base.c). So their number is compared with that of the directory's links, which is two
// and one for each of them (proc_task_getattr); it is all if each that was listed is there still.
func threads(pid string) (tids []string, complete bool, err error) {
	dir, err := os.Open("/proc/" + pid + "/task")
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	if tids, err = dir.Readdirnames(-1); err != nil {
		return nil, false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, false, err
	}
	return tids, len(tids) >= int(st.Nlink)-2, nil
}

// present reports whether the thread exists, now that its children file was not found.
func (r *reader) present(pid, tid string) bool {
	_, err := r.read("/proc/", pid, "/task/", tid, "/stat")
	return err == nil
}

func all() ([]Process, error) { return newReader().all() }

// all reads the stat of every process on the host.
func (r *reader) all() ([]Process, error) {
	names, err := entries("/proc")
	if err != nil {
		return nil, err
	}
	var table []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		switch s, err := r.stat(pid); err {
		case nil:
			table = append(table, s.Process)
		case os.ErrProcessDone:
		case unix.EPERM, unix.EACCES: // hidden from this user: hidepid in proc(5)
		default:
			return nil, err
		}
	}
	return table, nil
}

func entries(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// signal opens a pidfd, which refers to one process for good, and checks only
// then that it is p: before, the PID might be reused between check and signal.
func signal(p Process, sig syscall.Signal) error {
	if p.PID <= 0 || p.Start == 0 {
		return fmt.Errorf("not an identified process: %w", unix.EINVAL)
	}
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	switch err {
	case nil:
		defer unix.Close(pidfd)
	case unix.ESRCH:
		return os.ErrProcessDone
	case unix.ENOSYS, unix.EPERM: // before Linux 5.3, or refused by seccomp
		return signalByPID(p, sig)
	default:
		return fmt.Errorf("pidfd_open: %w", err)
	}
	if err := recheck(p); err != nil {
		return err
	}
	switch err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err {
	case nil:
		return nil
	case unix.ESRCH:
		return os.ErrProcessDone
	case unix.ENOSYS: // present since 5.1, yet a seccomp profile may know only one of the two
		return signalByPID(p, sig)
	default:
		return err
	}
}

// signalByPID is the best there is without pidfds: p may exit, and its PID be
// given away, between check and signal.
func signalByPID(p Process, sig syscall.Signal) error {
	if err := recheck(p); err != nil {
		return err
	}
	return gone(unix.Kill(p.PID, sig))
}
