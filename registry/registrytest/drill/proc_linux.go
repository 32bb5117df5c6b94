package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// supported says why no drill can run here, or nil.
func supported() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("%w: a process cannot be identified: %w", errors.ErrUnsupported, os.NewSyscallError("pidfd_open", err))
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// proc is a process that a drill has started: a pidfd, which polls readable when
// the process has exited, reaped or not.
type proc struct {
	pid   int
	shape string
	fd    int
}

// openProc identifies a process that is part of the drill with that nonce. One
// that has gone already is no error and no process.
func openProc(m message, nonce string) (*proc, error) {
	return openVerified(m.pid, m.shape, func() bool { return plays(m.pid, nonce, false) })
}

// born is not needed: the arguments tell that a PID is still the same process's.
func born() uint64 { return 0 }

// openVerified opens a pidfd and then looks whether the PID is that of the
// process which is meant: if it still lives afterwards, it was.
func openVerified(pid int, shape string, meant func() bool) (*proc, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("identify process %d (%s): %w", pid, shape, os.NewSyscallError("pidfd_open", err))
	}
	p := &proc{pid, shape, fd}
	if !meant() || p.gone() {
		p.close()
		return nil, nil
	}
	return p, nil
}

func (p *proc) close() { _ = unix.Close(p.fd) }

func (p *proc) gone() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

func (p *proc) signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.fd, sig, nil, 0)
	if err == nil || err == unix.ESRCH {
		return nil
	}
	return fmt.Errorf("signal process %d (%s): %w", p.pid, p.shape, os.NewSyscallError("pidfd_send_signal", err))
}

func (p *proc) kill() error  { return p.signal(unix.SIGKILL) }
func (p *proc) leave() error { return p.signal(leave) }

// pause stops a process and returns once it has stopped, with every thread: before
// that the kernel does not count it as stopped, setpgid(2).
func (p *proc) pause() error {
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if stopped(p.pid) || p.gone() {
			return nil
		}
	}
	return fmt.Errorf("process %d (%s) does not stop", p.pid, p.shape)
}

// continueAll wakes up those that are stopped still.
func continueAll(ps []*proc) {
	for _, p := range ps {
		_ = p.signal(unix.SIGCONT)
	}
}

// stopped reports whether every thread of a process has stopped.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	for _, thread := range threads {
		if s, err := readStatFile(thread + "/stat"); err != nil || s.state != "T" {
			return false
		}
	}
	return len(threads) > 0
}

// alive waits until ps are gone, and returns those that are not at the end.
func alive(ctx context.Context, ps []*proc, until time.Time) []*proc {
	left := append([]*proc(nil), ps...)
	for len(left) > 0 {
		fds := make([]unix.PollFd, len(left))
		for i, p := range left {
			fds[i] = unix.PollFd{Fd: int32(p.fd), Events: unix.POLLIN}
		}
		timeout := min(max(time.Until(until), 0), 50*time.Millisecond)
		_, err := unix.Poll(fds, int((timeout + time.Millisecond - 1).Milliseconds()))
		var still []*proc
		for i, p := range left {
			if fds[i].Revents == 0 {
				still = append(still, p)
			}
		}
		left = still
		if ctx.Err() != nil || err != unix.EINTR && !time.Now().Before(until) {
			break
		}
	}
	return left
}

// census finds whatever is alive of a drill, reported or not: its members, or
// everything.
func (st *stage) census(members bool) []*proc {
	nonce := st.nonce
	var found []*proc
	for _, pid := range pids() {
		if !plays(pid, nonce, members) { // a zombie has no arguments
			continue
		}
		meant := func() bool { return plays(pid, nonce, members) }
		if p, _ := openVerified(pid, "unreported", meant); p != nil {
			found = append(found, p)
		}
	}
	return found
}

// plays reports whether pid has a role in the drill: any, or that of a member.
func plays(pid int, nonce string, member bool) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	_, s, found := bytes.Cut(args, []byte("\x00"+nonce+"\x00"))
	if err != nil || !found {
		return false
	}
	var role script
	_ = json.Unmarshal(bytes.TrimRight(s, "\x00"), &role)
	return !member || role.Role == roleMember || role.Role == roleFork
}

func pids() []int {
	names, _ := filepath.Glob("/proc/[0-9]*")
	var all []int
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// stat is what matters of /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	name, state string
	parent      int
}

func readStat(pid int) (stat, error) { return readStatFile(fmt.Sprintf("/proc/%d/stat", pid)) }

func readStatFile(name string) (stat, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return stat{}, err
	}
	s := string(text)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("read %s: %q", name, s)
	}
	fields := strings.Fields(s[end+1:])
	if len(fields) < 2 {
		return stat{}, fmt.Errorf("read %s: %q", name, s)
	}
	parent, err := strconv.Atoi(fields[1])
	return stat{s[open+1 : end], fields[0], parent}, err
}

// supervisors finds those that descend from the owner, parents first. Their
// ancestors live, so their PIDs are theirs if they still descend from it after
// they have been opened.
func supervisors(owner *proc) ([]*proc, error) {
	var found []*proc
	for _, pid := range below(owner.pid) {
		s, err := readStat(pid)
		if err != nil || s.name != supervisorName[:15] || s.state == "Z" {
			continue
		}
		p, err := openVerified(pid, supervisorName, func() bool { return descends(pid, owner.pid) })
		if err != nil {
			return found, err
		}
		if p != nil {
			found = append(found, p)
		}
	}
	return found, nil
}

func below(root int) []int {
	children := map[int][]int{}
	for _, pid := range pids() {
		if s, err := readStat(pid); err == nil {
			children[s.parent] = append(children[s.parent], pid)
		}
	}
	found := append([]int(nil), children[root]...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

func descends(pid, root int) bool {
	for range 100 {
		s, err := readStat(pid)
		if err != nil {
			return false
		}
		if s.parent == root {
			return true
		}
		pid = s.parent
	}
	return false
}
