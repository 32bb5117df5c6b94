package drill

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// supported says why no drill can run here, or nil.
func supported() error {
	_, err := identify(os.Getpid())
	return err
}

// identity is struct proc_uniqidentifierinfo of xnu, bsd/sys/proc_info_private.h.
type identity struct {
	_       [16]byte
	unique  uint64
	_       uint64 // the parent's
	version uint32
	_       [20]byte
}

// From the same header.
const (
	callPIDInfo = 2
	callSignal  = 0x11 // PROC_INFO_CALL_SIGNAL_AUDITTOKEN
	flavorIDs   = 17   // PROC_PIDUNIQIDENTIFIERINFO
)

// identify reads the number that a process has and no other ever had, of a zombie too.
func identify(pid int) (id identity, err error) {
	n, _, errno := syscall_syscall6(libc_proc_info_trampoline_addr, callPIDInfo, uintptr(pid), flavorIDs, 1, uintptr(unsafe.Pointer(&id)), unsafe.Sizeof(id))
	if errno != 0 {
		return id, fmt.Errorf("identify process %d: %w", pid, os.NewSyscallError("proc_info", errno))
	}
	if n != unsafe.Sizeof(id) {
		return id, fmt.Errorf("identify process %d: proc_info returned %d bytes, want %d", pid, n, unsafe.Sizeof(id))
	}
	return id, nil
}

// born is the number of this process.
func born() uint64 {
	id, err := identify(os.Getpid())
	check("identify this process", err)
	return id.unique
}

// proc is a process that a drill has started: its PID and its number.
type proc struct {
	pid    int
	shape  string
	unique uint64
}

// openProc identifies the process that has sent a report, by the number that it has
// said. One that has gone already is no error and no process.
func openProc(m message, _ string) (*proc, error) {
	p := &proc{m.pid, m.shape, m.born}
	if p.gone() {
		return nil, nil
	}
	return p, nil
}

// openVerified identifies a process and then looks whether it is the one which is
// meant: if it still lives afterwards, it was.
func openVerified(pid int, shape string, meant func() bool) *proc {
	id, err := identify(pid)
	if err != nil {
		return nil
	}
	p := &proc{pid, shape, id.unique}
	if !meant() || p.gone() {
		return nil
	}
	return p
}

func (p *proc) close() {}

// The states of <sys/proc.h>.
const (
	stateStopped = 4 // SSTOP
	stateZombie  = 5 // SZOMB
)

func (p *proc) gone() bool { return p.state() == stateZombie }

// state returns that of a zombie for who is no more.
func (p *proc) state() int8 {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", p.pid)
	if err != nil || k.Proc.P_pid != int32(p.pid) {
		return stateZombie
	}
	if id, err := identify(p.pid); err != nil || id.unique != p.unique {
		return stateZombie // exiting, if not another's PID by now
	}
	return k.Proc.P_stat
}

// signal names PID and version, which the kernel compares, from macOS 14.2 on. Before,
// the number is looked at right before the signal.
func (p *proc) signal(sig unix.Signal) error {
	var err error
	for range 100 {
		id, e := identify(p.pid)
		if e != nil || id.unique != p.unique {
			return nil
		}
		token := [8]uint32{5: uint32(p.pid), 7: id.version} // audit_token_t
		_, _, errno := syscall_syscall6(libc_proc_info_trampoline_addr, callSignal, 0, uintptr(sig), 0, uintptr(unsafe.Pointer(&token)), unsafe.Sizeof(token))
		if err = os.NewSyscallError("proc_info signal", errno); errno == 0 {
			return nil
		}
		if errno == unix.EINVAL {
			err = os.NewSyscallError("kill", unix.Kill(p.pid, sig))
		} else if errno == unix.ESRCH { // exiting, or another version by now
			if p.gone() {
				return nil
			}
			continue
		}
		break
	}
	if err == nil || p.gone() {
		return nil
	}
	return fmt.Errorf("signal process %d (%s): %w", p.pid, p.shape, err)
}

func (p *proc) kill() error  { return p.signal(unix.SIGKILL) }
func (p *proc) leave() error { return p.signal(leave) }

// pause stops a process and returns once it has stopped.
func (p *proc) pause() error {
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s := p.state(); s == stateStopped || s == stateZombie {
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

// alive waits until ps are gone, and returns those that are not at the end.
func alive(ctx context.Context, ps []*proc, until time.Time) []*proc {
	left := slices.Clone(ps)
	for {
		left = slices.DeleteFunc(left, (*proc).gone)
		rest := time.Until(until)
		if len(left) == 0 || rest <= 0 || ctx.Err() != nil {
			return left
		}
		time.Sleep(min(rest, 2*time.Millisecond))
	}
}

// census finds whatever is alive of a drill, reported or not: its members, or
// everything.
func (st *stage) census(members bool) []*proc {
	var found []*proc
	for _, k := range table() {
		pid := int(k.Proc.P_pid)
		meant := func() bool { return plays(pid, st.nonce, members) }
		if !meant() {
			continue
		}
		if p := openVerified(pid, "unreported", meant); p != nil {
			found = append(found, p)
		}
	}
	return found
}

func table() []unix.KinfoProc {
	all, _ := unix.SysctlKinfoProcSlice("kern.proc.all")
	return all
}

// plays reports whether pid has a role in the drill: any, or that of a member.
func plays(pid int, nonce string, member bool) bool {
	args := arguments(pid)
	if len(args) != 3 || args[0] != argv0 || args[1] != nonce {
		return false
	}
	var role script
	_ = json.Unmarshal([]byte(args[2]), &role)
	return !member || role.Role == roleMember || role.Role == roleFork
}

// arguments returns those of a process of the same user, or of any for root: a count,
// the executable's path, padding, and the strings (sysctl_procargsx in kern_sysctl.c).
func arguments(pid int) []string {
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(b) < 4 {
		return nil
	}
	n := int(binary.NativeEndian.Uint32(b))
	_, b, _ = bytes.Cut(b[4:], []byte{0})
	b = bytes.TrimLeft(b, "\x00")
	var args []string
	for len(args) < n && len(b) > 0 {
		var arg []byte
		arg, b, _ = bytes.Cut(b, []byte{0})
		args = append(args, string(arg))
	}
	return args
}

// supervisors finds those that descend from the owner, parents first. Their
// ancestors live, so their PIDs are theirs if they still descend from it after
// they have been opened.
func supervisors(owner *proc) ([]*proc, error) {
	var found []*proc
	for _, pid := range below(owner.pid) {
		if args := arguments(pid); len(args) != 1 || args[0] != supervisorName {
			continue
		}
		if p := openVerified(pid, supervisorName, func() bool { return slices.Contains(below(owner.pid), pid) }); p != nil {
			found = append(found, p)
		}
	}
	return found, nil
}

func below(root int) []int {
	children := map[int][]int{}
	for _, k := range table() {
		if k.Proc.P_pid > 0 {
			children[int(k.Eproc.Ppid)] = append(children[int(k.Eproc.Ppid)], int(k.Proc.P_pid))
		}
	}
	found := slices.Clone(children[root])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// room is how many more processes may be started: RLIMIT_NPROC and kern.maxprocperuid
// count a user's processes, kern.maxproc all.
func room() int {
	all := table()
	own := 0
	for _, k := range all {
		if k.Eproc.Ucred.Uid == uint32(os.Getuid()) {
			own++
		}
	}
	free := 1 << 20
	if n, err := unix.SysctlUint32("kern.maxproc"); err == nil {
		free = min(free, int(n)-len(all))
	}
	if os.Geteuid() != 0 {
		if n, err := unix.SysctlUint32("kern.maxprocperuid"); err == nil {
			free = min(free, int(n)-own)
		}
		var l unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NPROC, &l) == nil && l.Cur < 1<<20 {
			free = min(free, int(l.Cur)-own)
		}
	}
	return max(0, free)
}
