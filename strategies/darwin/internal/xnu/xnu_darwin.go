package xnu

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// System is the table of this host.
type System struct{}

// From <sys/proc_info.h> and proc_info_private.h.
const (
	callPIDInfo   = 0x2
	callPIDFDInfo = 0x3
	// callSignal is PROC_INFO_CALL_SIGNAL_AUDITTOKEN, in xnu-10002.61.3 (macOS 14.2) and later.
	callSignal = 0x11

	listFDs    = 1  // PROC_PIDLISTFDS, same user or root
	uniqueInfo = 17 // PROC_PIDUNIQIDENTIFIERINFO, no privilege
	pipeInfo   = 6  // PROC_PIDFDPIPEINFO, same user or root

	fdTypePipe = 6 // PROX_FDTYPE_PIPE

	szomb = 5 // SZOMB of <sys/proc.h>
)

// uniqueIdentifiers is struct proc_uniqidentifierinfo.
type uniqueIdentifiers struct {
	uuid              [16]byte
	unique            uint64
	parent            uint64
	version           uint32
	origParentVersion uint32
	_                 [2]uint64
}

// pipeFDInfo is struct pipe_fdinfo: proc_fileinfo, vinfo_stat, and what is of the pipe.
type pipeFDInfo struct {
	_      [24 + 136]byte
	handle uint64
	_      [16]byte
}

type fdInfo struct {
	fd   int32
	kind uint32
}

// identify reads the numbers of a process, of a zombie as well (the argument 1).
func identify(pid int) (u uniqueIdentifiers, err error) {
	n, err := procInfo(callPIDInfo, pid, uniqueInfo, 1, unsafe.Pointer(&u), unsafe.Sizeof(u))
	switch {
	case err == unix.ESRCH:
		return u, os.ErrProcessDone
	case err != nil:
		return u, fmt.Errorf("proc_pidinfo PROC_PIDUNIQIDENTIFIERINFO of process %d: %w", pid, err)
	case n != int(unsafe.Sizeof(u)):
		return u, fmt.Errorf("proc_pidinfo PROC_PIDUNIQIDENTIFIERINFO of process %d: %d bytes, want %d", pid, n, unsafe.Sizeof(u))
	}
	return u, nil
}

func process(k *unix.KinfoProc, u *uniqueIdentifiers) Process {
	return Process{
		PID: int(k.Proc.P_pid), PPID: int(k.Eproc.Ppid), PGID: int(k.Eproc.Pgid),
		Unique: u.unique, Parent: u.parent, Version: u.version, ParentVersion: u.origParentVersion, Born: u.unique,
		Name:   unix.ByteSliceToString(k.Proc.P_comm[:]),
		Zombie: k.Proc.P_stat == szomb,
	}
}

// Each implements [Table]. The kernel lists the youngest first: pinsertchild puts a
// new process at the head of allproc. Zombies come last.
func (System) Each(visit func(Process)) error {
	table, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return fmt.Errorf("read the process table: sysctl kern.proc.all: %w", err)
	}
	for i := range table {
		k := &table[i]
		if k.Proc.P_pid <= 0 {
			continue
		}
		u, err := identify(int(k.Proc.P_pid))
		switch {
		case errors.Is(err, os.ErrProcessDone): // or exiting, and soon a zombie
		case err != nil:
			return fmt.Errorf("read the process table: %w", err)
		default:
			visit(process(k, &u))
		}
	}
	return nil
}

// Lookup implements [Table]. What is read between two looks at the same unique
// number belongs to it.
func (System) Lookup(pid int) (Process, error) {
	fail := func(err error) (Process, error) {
		return Process{}, fmt.Errorf("look up process %d: %w", pid, err)
	}
	for {
		before, err := identify(pid)
		if err != nil {
			return fail(err)
		}
		table, err := unix.SysctlKinfoProcSlice("kern.proc.pid", pid)
		if err != nil {
			return fail(fmt.Errorf("sysctl kern.proc.pid: %w", err))
		}
		after, err := identify(pid)
		if err != nil {
			return fail(err)
		}
		if len(table) == 1 && before.unique == after.unique {
			return process(&table[0], &after), nil
		}
	}
}

// noTokens is set once the kernel has answered that it cannot signal by audit token.
var noTokens atomic.Bool

// Signal implements [Table].
func (s System) Signal(p Process, sig syscall.Signal) error {
	for range 100 { // each time p has exec'd between the two calls
		u, err := identify(p.PID)
		if err == nil && u.unique != p.Unique {
			err = os.ErrProcessDone
		}
		if err == nil {
			err = s.signal(p, u.version, sig)
		}
		if !errors.Is(err, errAgain) {
			if err != nil {
				return fmt.Errorf("send signal %d to process %d (%s): %w", int(sig), p.PID, p.Name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("send signal %d to process %d (%s): %w", int(sig), p.PID, p.Name, unix.EAGAIN)
}

var errAgain = errors.New("it has exec'd")

// signal names PID and version, which the kernel compares while it holds the
// process (proc_signal_with_audittoken in proc_info.c). Before macOS 14.2 there is no
// such call: then the number is read once more right before kill(2).
func (s System) signal(p Process, version uint32, sig syscall.Signal) error {
	if !noTokens.Load() {
		token := [8]uint32{5: uint32(p.PID), 7: version} // audit_token_t
		_, err := procInfo(callSignal, 0, int(sig), 0, unsafe.Pointer(&token), unsafe.Sizeof(token))
		switch err {
		case unix.ESRCH: // exiting, or exec'd
			if now, e := s.Lookup(p.PID); e != nil || !now.Same(p) || now.Zombie || now.Version == version {
				return os.ErrProcessDone
			}
			return errAgain
		case unix.EINVAL:
			noTokens.Store(true)
		default:
			return err
		}
	}
	now, err := s.Lookup(p.PID)
	if err == nil && (!now.Same(p) || now.Zombie) {
		err = os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	if err = unix.Kill(p.PID, sig); err == unix.ESRCH {
		err = os.ErrProcessDone
	}
	return err
}

// Pipe implements [Table].
func (System) Pipe(fd int) (Pipe, error) {
	end, err := pipeOf(os.Getpid(), fd)
	if err != nil {
		return 0, fmt.Errorf("identify the pipe on descriptor %d: %w", fd, err)
	}
	return end, nil
}

func pipeOf(pid, fd int) (Pipe, error) {
	var info pipeFDInfo
	n, err := procInfo(callPIDFDInfo, pid, pipeInfo, uint64(fd), unsafe.Pointer(&info), unsafe.Sizeof(info))
	if err == nil && n != int(unsafe.Sizeof(info)) {
		err = fmt.Errorf("%d bytes, want %d", n, unsafe.Sizeof(info))
	}
	if err != nil {
		return 0, fmt.Errorf("proc_pidfdinfo PROC_PIDFDPIPEINFO: %w", err)
	}
	return Pipe(info.handle), nil
}

// Holds implements [Table].
func (System) Holds(pid int, end Pipe) bool {
	size, err := procInfo(callPIDInfo, pid, listFDs, 0, nil, 0)
	if err != nil || size == 0 {
		return false
	}
	fds := make([]fdInfo, size/int(unsafe.Sizeof(fdInfo{}))+16)
	size, err = procInfo(callPIDInfo, pid, listFDs, 0, unsafe.Pointer(&fds[0]), uintptr(len(fds))*unsafe.Sizeof(fds[0]))
	if err != nil {
		return false
	}
	for _, f := range fds[:size/int(unsafe.Sizeof(fds[0]))] {
		if f.kind == fdTypePipe {
			if held, err := pipeOf(pid, int(f.fd)); err == nil && held == end {
				return true
			}
		}
	}
	return false
}

// PeerUID implements [Table].
func (System) PeerUID(fd int) (uint32, error) {
	peer, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, fmt.Errorf("getsockopt LOCAL_PEERCRED: %w", err)
	}
	return peer.Uid, nil
}

// Argv0 implements [Table].
func (System) Argv0() string { return supervisor.Argv0 }

// Become implements [Table]. p_comm, which killall(1) goes by, is the name of the
// executed file and cannot be changed.
func (System) Become() {}

// Hurry implements [Table]. Root alone may, setpriority(2).
func (System) Hurry() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }

// Watch implements [Table].
func (System) Watch() (Queue, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	return queue(kq), nil
}

type queue int

// Add implements [Queue]. ESRCH: the process is exiting or has exited (filt_procattach).
func (kq queue) Add(pid int, filter Filter, notes Notes) error {
	change := make([]unix.Kevent_t, 1)
	unix.SetKevent(&change[0], pid, int(filter), unix.EV_ADD|unix.EV_CLEAR)
	change[0].Fflags = uint32(notes)
	for {
		if _, err := unix.Kevent(int(kq), change, nil, nil); err == nil {
			return nil
		} else if err != unix.EINTR {
			return fmt.Errorf("kevent for process %d: %w", pid, err)
		}
	}
}

// Wait implements [Queue].
func (kq queue) Wait() ([]Event, error) {
	got := make([]unix.Kevent_t, 64)
	for {
		n, err := unix.Kevent(int(kq), nil, got, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kevent: %w", err)
		}
		events := make([]Event, n)
		for i, e := range got[:n] {
			events[i] = Event{PID: int(e.Ident), Notes: Notes(e.Fflags)}
		}
		return events, nil
	}
}

// Close implements [Queue].
func (kq queue) Close() { _ = unix.Close(int(kq)) }
