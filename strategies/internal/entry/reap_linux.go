package entry

import "unsafe"

// Bounds of what is reaped before this process looks again who is gone and whom to
// kill: more may end than it can ever reap. It is few as long as the owner's end is what
// to look for, because among hundreds that fork and exit one wait takes a millisecond.
const (
	reapAtOnce        = 4
	reapAtOnceKilling = 1000
)

// reap waits for children that have ended. ECHILD is the proof that nothing is left:
// whatever the leader started is our descendant, and an orphan is our child.
//
// What is killed is not reaped before all of our children have ended. As a zombie
// each keeps its place in pids.max and RLIMIT_NPROC, so whoever has not been killed yet
// cannot fork; a fork bomb would fill the room up faster than it is found. When no
// child of ours lives nobody does: a zombie has no children.
//
//go:nosplit
//go:norace
func (r *Supervisor) reap() {
	most := reapAtOnce
	if r.killing {
		most = reapAtOnceKilling
	}
	r.unreaped = false
	if r.killing && r.alive > 0 && !r.late && !r.unseen {
		return
	}
	for range most {
		which := ^uintptr(0)
		if r.killing && r.NameForced && r.forced < maxNamed {
			next := r.nameNext()
			if next == -int(_ECHILD) {
				r.note(Empty)
			} else if next < 0 { // a seccomp filter refuses waitid
				r.NameForced = false
				continue
			}
			if next <= 0 { // who ends now is named when this comes back
				return
			}
			which = uintptr(next)
			if r.named[0].A != 0 && !r.ForeignProc {
				r.namePath(int32(which))
				r.keepName(r.readName())
			}
		}
		pid := r.wait(which)
		if pid == -int(_ECHILD) {
			r.note(Empty)
		}
		if pid <= 0 {
			return
		}
	}
	r.unreaped = true
	if !r.leaderExited {
		r.wait(uintptr(r.leader))
	}
}

// wait takes note of one child that has ended, stopped or continued: of one in
// particular, or of any. It returns its PID, 0 if there is none, or -errno.
//
//go:nosplit
//go:norace
func (r *Supervisor) wait(which uintptr) int {
	var status uint32
	pid := sys(_SYS_WAIT4, which, uintptr(unsafe.Pointer(&status)), _WNOHANG|_WALL|_WUNTRACED|_WCONTINUED, 0, 0)
	switch {
	case pid <= 0:
	case status&0xff == 0x7f: // WIFSTOPPED
		r.leaderStops(pid, true)
	case status == 0xffff: // WIFCONTINUED
		r.leaderStops(pid, false)
	default:
		if pid == r.leader {
			r.leaderExited, r.leaderStatus = true, status
		}
		if r.killing && uintptr(status&0x7f) == r.KillSignal {
			r.forced++
			if r.NameForced && r.named[0].A == uint32(pid) {
				r.tellForced()
			}
		}
	}
	return pid
}

// nameNext puts the next child to be waited for into r.named and returns its PID; 0
// if none has ended, or -errno. As a zombie it still has its name.
//
//go:nosplit
//go:norace
func (r *Supervisor) nameNext() int {
	r.upNext[siginfoPID] = 0
	e := sys(_SYS_WAITID, _P_ALL, 0, uintptr(unsafe.Pointer(&r.upNext[0])), _WEXITED|_WNOHANG|_WNOWAIT|_WALL, 0)
	pid := r.upNext[siginfoPID]
	r.named[0].A = 0
	if e < 0 {
		return e
	}
	if pid > 0 && r.upNext[siginfoStatus] == int32(r.KillSignal) { // the signal, else an exit code: it ended by itself
		r.named[0] = Message{Op: OpForced, A: uint32(pid)}
		r.named[1] = Message{Op: OpForcedName}
	}
	return int(pid)
}

// siginfoPID is the place of si_pid in a siginfo_t of 32-bit words: after three
// words, at the next that is aligned to a pointer.
const siginfoPID = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0)) / 4

// siginfoCode is the place of si_code: si_signo and si_errno come before it.
const siginfoCode = 2

// si_code of what waitid says of a child that has ended, sigaction(2).
const (
	_CLD_EXITED = 1
	_CLD_DUMPED = 3
)

// siginfoStatus is the place of si_status: si_pid and si_uid come before it.
const siginfoStatus = siginfoPID + 2

// maxNamed bounds who is named, which takes several times as long as to reap.
const maxNamed = 256

// namePath puts "/proc/PID/comm" into r.buf.
//
//go:nosplit
//go:norace
func (r *Supervisor) namePath(pid int32) {
	end := 0
	for i := 0; i < len(procDir)-1; i++ {
		r.buf[end] = procDir[i]
		end++
	}
	r.buf[end] = '/'
	for n := pid; n > 0; n /= 10 {
		end++
	}
	i := end
	for n := pid; n > 0 && i > 0; n /= 10 {
		r.buf[i] = byte('0' + n%10)
		i--
	}
	for i := 0; i < len(commFile); i++ {
		end++
		r.buf[end] = commFile[i]
	}
}

var commFile = [...]byte{'/', 'c', 'o', 'm', 'm', 0}

// readName reads the file that r.buf names, proc_pid_comm(5), into r.buf.
//
//go:nosplit
//go:norace
func (r *Supervisor) readName() int {
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&r.buf[0])), _O_RDONLY|_O_CLOEXEC, 0, 0)
	if fd < 0 {
		return 0
	}
	n := sys(_SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.buf[0])), maxName, 0, 0)
	sys(_SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
	return n
}

// maxName is the room for a name and what ends it, TASK_COMM_LEN in prctl(2).
const maxName = 16

// keepName takes a name of n bytes from r.buf to r.named.
//
//go:nosplit
//go:norace
func (r *Supervisor) keepName(n int) {
	for i := 0; i < n && i < maxName && r.buf[i] != '\n'; i++ {
		at := unsafe.Pointer(&r.named[0].B)
		if i >= maxName/2 {
			at = unsafe.Pointer(&r.named[1].A)
		}
		*(*byte)(unsafe.Add(at, i%(maxName/2))) = r.buf[i]
	}
}

// tellForced tells the proxy about r.named, unless the pipe is full: a proxy that
// is stopped reads nothing, and must not hold up what is killed.
//
//go:nosplit
//go:norace
func (r *Supervisor) tellForced() {
	r.mirrorPoll = pollFD{fd: int32(r.Mirror), events: _POLLOUT}
	r.ts = timespec{}
	if sys(_SYS_PPOLL, uintptr(unsafe.Pointer(&r.mirrorPoll)), 1, uintptr(unsafe.Pointer(&r.ts)), 0, 0) > 0 { // not poll: less stack
		sys(_SYS_WRITE, uintptr(r.Mirror), uintptr(unsafe.Pointer(&r.named[0])), 2*MessageSize, 0, 0)
	}
}
