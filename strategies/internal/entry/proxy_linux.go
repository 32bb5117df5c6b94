//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

// proxy is the process that the owner knows as cmd.Process: it forks the supervisor,
// passes on what it receives, and ends as the leader ended.
type proxy struct {
	pid        int // its own
	supervisor int
	socket     int // to the supervisor
	signals    int // signalfd
	owner      int
	channel    int
	leader     int
	status     uint32
	fds        [4]pollFD
	pair       [2]int32
	signalSet  uint64
	info       [SiginfoSize]byte
	message    Message
	keep       kept
}

var theProxy proxy

// serve is the proxy's life. It never returns.
//
//go:nosplit
//go:norace
func (h *helper) serve() {
	p := &theProxy
	p.begin(h)
	sharesGroup := prepareFunc(p, h)
	p.fork(h)
	if h.wrapped {
		Raw.renameArguments()
	}
	if sharesGroup {
		// Out of the service's group: who kills the group of cmd.Process must neither hit
		// the service nor the supervisor, which leaves it, too. And if this process adopts
		// the leader, it must not be what keeps the leader's group from being orphaned.
		sys(_SYS_SETSID, 0, 0, 0, 0, 0)
	}
	p.giveUp()
	if !p.await() {
		takeOverFunc(p)
	}
	mirror(p.status)
}

// begin opens what the two processes have in common.
//
//go:nosplit
//go:norace
func (p *proxy) begin(h *helper) {
	r := &Raw
	r.clear()
	p.pid = sys(_SYS_GETPID, 0, 0, 0, 0, 0)
	p.owner, p.channel = h.files[0], h.channel
	r.Mask = h.mask
	// A service may ignore it. Then the kernel would collect the children of this process
	// and of the supervisor, and tell neither.
	setDisposition(_SIGCHLD, sigDfl, &r.act)
	sys(_SYS_PRCTL, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	r.Owner, r.Channel, r.ProxyPID = p.owner, p.channel, p.pid
	r.Proxy = sys(_SYS_PIDFD_OPEN, uintptr(p.pid), 0, 0, 0, 0) // fails before Linux 5.3
	e := sys(_SYS_SOCKETPAIR, _AF_UNIX, _SOCK_STREAM|_SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&p.pair)), 0)
	p.socket, r.Relay, r.Mirror = int(p.pair[0]), int(p.pair[1]), int(p.pair[1])
	r.RelayWrite = p.socket
	if e >= 0 {
		e = sys(_SYS_PIPE2, uintptr(unsafe.Pointer(&p.pair)), _O_CLOEXEC|_O_NONBLOCK, 0, 0, 0)
		r.Status, r.StatusWrite = int(p.pair[0]), int(p.pair[1])
	}
	if e >= 0 && h.head.InitFlags&(_CLONE_NEWUSER|CloneTied) != 0 {
		e = sys(_SYS_PIPE2, uintptr(unsafe.Pointer(&p.pair)), _O_CLOEXEC, 0, 0, 0)
		r.Mapped, r.MappedWrite = int(p.pair[0]), int(p.pair[1])
	}
	p.signalSet = 1 << (_SIGCHLD - 1)
	if e >= 0 {
		e = p.signalFD()
		r.Signals = e
	}
	p.signalSet = ^p.signalSet
	if e >= 0 {
		e = p.signalFD()
		p.signals = e
	}
	if e < 0 {
		h.refuse(RefusedSetup, -e)
	}
}

//go:nosplit
//go:norace
func (p *proxy) signalFD() int {
	return sys(_SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&p.signalSet)), 8, _SFD_CLOEXEC|_SFD_NONBLOCK, 0)
}

// prepare fills in the supervisor's state. It reports whether this process is in a process
// group that is not its own, which it is to leave.
//
//go:nosplit
//go:norace
func (p *proxy) prepare(h *helper) (sharesGroup bool) {
	r, b := &Raw, &h.head
	r.Machine.OnLeaderExit = LeaderExit(b.OnLeaderExit)
	r.Probe = b.Flags&FlagProbe != 0
	r.KillSignal, r.KillDeadline = uintptr(b.KillSignal), b.KillDeadline
	r.Path, r.Argv, r.Envp = h.at(b.Path), h.at(b.Argv), h.at(b.Envp)
	r.Dir, r.Chroot, r.Cgroup = h.at(b.Dir), h.at(b.Chroot), h.at(b.Cgroup)
	if b.Flags&FlagWrapped != 0 {
		r.Argv, r.Envp = h.argv, h.envp
		r.Argv0, r.ArgumentsShared = word(h.argv), true
		for at := h.argv; word(at) != 0; at += unsafe.Sizeof(at) {
			r.Argv0Len = int(word(at)-r.Argv0) + textLen(word(at)) + 1
		}
	}
	r.Ignored, r.InitFlags = b.Ignored, uintptr(b.InitFlags)
	r.ShareMemory = b.Flags&FlagShareMemory != 0
	r.CgroupFD, r.KillFD, r.ProcsFD = h.files[1], h.files[2], h.files[5]
	for sig := 0; sig <= NumSig; sig++ {
		r.Rewrite[sig] = uint8(sig)
	}
	p.prepareAttr(h)
	p.lookAtProc()
	k := &r.keep
	k.retain(r.Owner)
	k.retain(r.Proxy)
	k.retain(r.Channel)
	k.retain(r.Relay)
	k.retain(r.Signals)
	k.retain(r.Status)
	k.retain(r.KillFD)
	k.retain(h.files[3])
	r.MaxFD = 1<<31 - 1
	if sys(_SYS_CLOSE_RANGE, 1<<30, 1<<30, 0, 0, 0) < 0 { // Linux before 5.9
		r.MaxFD = 1 << 16
	}
	return p.chooseGroups(h)
}

//go:nosplit
//go:norace
func (p *proxy) prepareAttr(h *helper) {
	a, b := &Raw.Attr, &h.head
	a.Credential, a.NoSetGroups = b.Flags&FlagCredential != 0, b.Flags&FlagNoSetGroups != 0
	a.UID, a.GID = uintptr(b.UID), uintptr(b.GID)
	a.Groups, a.NumGroups = h.at(b.Groups), int(b.NumGroups)
	a.Setsid = b.Flags&FlagSetsid != 0
	a.Foreground, a.ForegroundFD = b.Flags&FlagForeground != 0, h.files[4]
	a.Setctty, a.Noctty, a.Ctty = b.Flags&FlagSetctty != 0, b.Flags&FlagNoctty != 0, int(b.Ctty)
	a.CloneFlags, a.Unshared = uintptr(b.CloneFlags), int(b.Unshareflags)
	for c := 0; c < NumCaps; c++ {
		if b.Caps&(1<<uint(c)) != 0 && a.NumCaps < NumCaps {
			a.Caps[a.NumCaps&(NumCaps-1)] = uint32(c)
			a.NumCaps++
		}
	}
}

var (
	procSelf     = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', 0}
	initChildren = [...]byte{'/', 'p', 'r', 'o', 'c', '/', '1', '/', 't', 'a', 's', 'k', '/', '1', '/', 'c', 'h', 'i', 'l', 'd', 'r', 'e', 'n', 0}
)

// lookAtProc sees whose processes /proc shows, and whether it has lists of children. It
// asks about PID 1's, which the kernel has at hand, while one of this process's own would have
// to be made, and taken apart at its end; only if others are hidden, hidepid in proc(5), for its own.
//
//go:nosplit
//go:norace
func (p *proxy) lookAtProc() {
	r := &Raw
	atFDCWD := _AT_FDCWD
	r.buf[0] = 0
	n := sys(_SYS_READLINKAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&procSelf[0])), uintptr(unsafe.Pointer(&r.buf[0])), 32, 0)
	r.buf[uint(max(n, 0))%uint(len(r.buf))] = 0
	r.ForeignProc = number(uintptr(unsafe.Pointer(&r.buf[0]))) != p.pid
	if r.InitFlags != 0 {
		return
	}
	e := sys(_SYS_FACCESSAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&initChildren[0])), 0, 0, 0)
	if e < 0 {
		e = sys(_SYS_FACCESSAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&childrenFile[0])), 0, 0, 0)
	}
	if e < 0 {
		r.ChildrenErrno = uint32(-e)
	}
}

// chooseGroups decides the process groups of proxy and leader.
//
// The proxy is in the group that the service asked for by Setpgid or Setsid, or else in
// none that anybody else is in: whatever a service learns from cmd.Process.Pid, and
// kills, the supervisor is not in it.
//
// The leader is where it would be without the proxy, or a member of the proxy's group
// where that leads one. The numbers of process groups mean nothing in a new PID
// namespace: there the leader inherits its group from the proxy.
//
//go:nosplit
//go:norace
func (p *proxy) chooseGroups(h *helper) (sharesGroup bool) {
	r, b := &Raw, &h.head
	numbers := (b.InitFlags|b.CloneFlags)&_CLONE_NEWPID == 0
	r.GroupOf, r.GroupInherited = -1, !numbers
	if b.Flags&FlagWrapped != 0 {
		// The library's fork has done what SysProcAttr asks.
		r.GroupInherited = sys(_SYS_GETPGID, 0, 0, 0, 0, 0) == p.pid
		r.GroupShared = !r.GroupInherited
		r.SkipKernelSignal = r.GroupInherited // a terminal signals both
		return r.GroupShared
	}
	switch {
	case b.Flags&FlagSetsid != 0: // the leader leads a group
		sys(_SYS_SETPGID, 0, 0, 0, 0, 0)
	case b.Flags&FlagSetpgid != 0 && b.Pgid != 0:
		r.GroupShared = true
		if numbers {
			r.GroupOf = int(b.Pgid)
		} else {
			sys(_SYS_SETPGID, 0, uintptr(b.Pgid), 0, 0, 0)
		}
		return true
	case b.Flags&FlagForeground != 0 && !numbers:
		r.GroupOf = 0
		sys(_SYS_SETPGID, 0, 0, 0, 0, 0)
	case b.Flags&(FlagSetpgid|FlagForeground) != 0:
		if numbers {
			r.GroupOf = p.pid
		}
		r.SkipKernelSignal = true
		sys(_SYS_SETPGID, 0, 0, 0, 0, 0)
	default:
		r.GroupShared = true
		return true
	}
	return false
}

// fork makes the supervisor, with a copy of this process's memory. To share it would save a
// tenth of a short backend's start, but the kernel, when memory runs out, ends all who share what
// the victim had, and gives them one oom_score_adj: a service that raises that of cmd.Process
// would have supervisor and proxy end together, and nobody left to end the tree.
//
//go:nosplit
//go:norace
func (p *proxy) fork(h *helper) {
	r := &Raw
	pid := r.cloneSupervisor()
	if pid < 0 {
		h.refuse(RefusedSetup, -pid)
	}
	p.supervisor = pid
	if r.tied() {
		handOverFunc(p, h)
	}
	if r.InitFlags&_CLONE_NEWUSER != 0 {
		writeMapsFunc(p, h)
	} else if r.tied() {
		sys(_SYS_WRITE, uintptr(r.MappedWrite), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	}
	closeFD(r.Mapped)
	closeFD(r.MappedWrite)
}

// giveUp closes all but what this process needs, so that the leader's end of a pipe is
// the end of the pipe, and leaves the working directory.
//
//go:nosplit
//go:norace
func (p *proxy) giveUp() {
	r := &Raw
	p.keep.retain(p.socket)
	p.keep.retain(p.signals)
	p.keep.retain(p.owner)
	p.keep.retain(p.channel)
	p.keep.retain(r.KillFD)
	p.keep.closeOthers(r.MaxFD)
	sys(_SYS_CHDIR, uintptr(unsafe.Pointer(&rootDir[0])), 0, 0, 0, 0)
	// By this who lists processes knows a proxy from a supervisor, which has blocked
	// all: package inventory. The action of SIGCHLD is none.
	setMask(^uint64(1 << (_SIGCHLD - 1)))
	Raw.ts[0] = 0
	sys(_SYS_PRCTL, _PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&Raw.ts)), 0, 0, 0)
	if uint32(Raw.ts[0]) == 0 { // else the owner has bound this process
		// If somebody has stopped it, it wakes up to see whether the owner is gone.
		sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, _SIGCONT, 0, 0, 0)
	}
}

// await waits until the supervisor says how to end, and reports false if the
// supervisor was killed before it could.
//
//go:nosplit
//go:norace
func (p *proxy) await() bool {
	p.fds[0] = pollFD{fd: int32(p.socket), events: _POLLIN}
	p.fds[1] = pollFD{fd: int32(p.owner), events: _POLLIN}
	p.fds[2] = pollFD{fd: int32(p.channel)} // what it says is for the supervisor
	p.fds[3] = pollFD{fd: int32(p.signals), events: _POLLIN}
	for {
		if poll(&p.fds[0], len(p.fds), -1, &Raw.ts) < 0 {
			continue
		}
		if p.fds[1].revents != 0 || p.fds[2].revents != 0 {
			// Somebody may have stopped the supervisor. As a child that has not been
			// waited for its PID is its own.
			p.fds[1].fd, p.fds[2].fd = -1, -1
			// One that is tied needs it as little as it is waited for.
			if !Raw.tied() {
				sys(_SYS_KILL, uintptr(p.supervisor), _SIGCONT, 0, 0, 0)
			}
		}
		if p.fds[3].revents != 0 {
			p.passOn()
		}
		if p.fds[0].revents != 0 {
			n := sys(_SYS_READ, uintptr(p.socket), uintptr(unsafe.Pointer(&p.message)), MessageSize, 0, 0)
			if n != MessageSize {
				return false
			}
			if p.take() {
				return true
			}
		}
	}
}

// passOn gives the supervisor a signal that this process received: a struct
// signalfd_siginfo, signalfd(2), whose first words are those of a siginfo_t. A
// supervisor that is stopped and has been told enough misses it.
//
//go:nosplit
//go:norace
func (p *proxy) passOn() {
	n := sys(_SYS_READ, uintptr(p.signals), uintptr(unsafe.Pointer(&p.info[0])), SiginfoSize, 0, 0)
	if n == SiginfoSize {
		sys6(_SYS_SENDTO, uintptr(p.socket), uintptr(unsafe.Pointer(&p.info[0])), SiginfoSize, _MSG_NOSIGNAL|_MSG_DONTWAIT, 0, 0)
	}
}

// take takes a message, and reports whether it is the supervisor's last.
//
//go:nosplit
//go:norace
func (p *proxy) take() bool {
	switch p.message.Op {
	case OpStarted:
		p.leader = int(p.message.A)
	case OpReady, OpFailed:
		p.status = 127 << 8
		p.reap()
		return true
	case OpMirror:
		p.status = p.message.A
		if p.message.B&MirrorEnds != 0 {
			p.reap()
		}
		return true
	}
	return false
}

// reap waits for the supervisor, which has said that it ends, so that it is no
// zombie to a PID 1 that does not reap.
//
//go:nosplit
//go:norace
func (p *proxy) reap() {
	for sys(_SYS_WAIT4, uintptr(p.supervisor), 0, _WALL, 0, 0) == -_EINTR {
		continue
	}
}

// takeOver ends what a killed supervisor has left, whose children have become this
// process's, and tells the owner. Past the deadline something is left that cannot die
// yet, such as a process in uninterruptible sleep: then the owner is told so, and this goes on.
//
//go:nosplit
//go:norace
func (p *proxy) takeOver() {
	status, _, empty := Raw.EndOrphans(p.leader, -1, Raw.KillDeadline)
	p.status = status
	tellOwner(p.channel, OpLeader, status, 0) // of a leader that has been reported, the first counts
	if !empty {
		tellOwner(p.channel, OpLate, 0, 0)
	}
	for !empty {
		_, _, empty = Raw.EndOrphans(0, Raw.children, Raw.KillDeadline)
	}
	tellOwner(p.channel, OpEmpty, 0, 0)
}

// mirror ends this process as the leader ended: the same exit code, or the same
// signal. A signal that dumps core must not dump this process's.
//
//go:nosplit
//go:norace
func mirror(status uint32) {
	sig := int(status & 0x7f)
	if sig == 0 {
		exit(int(status >> 8 & 0xff))
	}
	sys(_SYS_PRCTL, _PR_SET_DUMPABLE, 0, 0, 0, 0)
	setDisposition(sig, sigDfl, &Raw.act)
	setMask(0)
	sys(_SYS_KILL, uintptr(theProxy.pid), uintptr(sig), 0, 0, 0)
	poll(nil, 0, 1000, &Raw.ts)
	exit(128 + sig)
}

var (
	setgroupsFile = [...]byte{'/', 's', 'e', 't', 'g', 'r', 'o', 'u', 'p', 's', 0}
	uidMapFile    = [...]byte{'/', 'u', 'i', 'd', '_', 'm', 'a', 'p', 0}
	gidMapFile    = [...]byte{'/', 'g', 'i', 'd', '_', 'm', 'a', 'p', 0}
	deny          = [...]byte{'d', 'e', 'n', 'y', 0}
)

// writeMaps maps this process's IDs to themselves in the supervisor's user namespace,
// and lets it go on if that worked: user_namespaces(7) allows everybody one line, once
// setgroups is denied. Whatever the supervisor cannot do without it fails there,
// and is reported from there.
//
//go:nosplit
//go:norace
func (p *proxy) writeMaps(h *helper) {
	p.writeFile(h, &setgroupsFile[0], &deny[0]) // missing before Linux 3.19
	id := sys(_SYS_GETEUID, 0, 0, 0, 0, 0)
	ok := p.writeMap(h, &uidMapFile[0], id)
	id = sys(_SYS_GETEGID, 0, 0, 0, 0, 0)
	if p.writeMap(h, &gidMapFile[0], id) && ok {
		sys(_SYS_WRITE, uintptr(Raw.MappedWrite), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	}
}

// writeMap writes a map of one line, of an ID to itself.
//
//go:nosplit
//go:norace
func (p *proxy) writeMap(h *helper, name *byte, id int) bool {
	at := uintptr(unsafe.Pointer(&p.info[0]))
	at = h.putNumber(at, id)
	poke(at, ' ')
	at = h.putNumber(at+1, id)
	poke(at, ' ')
	poke(at+1, '1')
	poke(at+2, 0)
	return p.writeFile(h, name, &p.info[0])
}

// writeFile writes a text to a file of the supervisor's in /proc.
//
//go:nosplit
//go:norace
func (p *proxy) writeFile(h *helper, name, text *byte) bool {
	at := uintptr(unsafe.Pointer(&Raw.buf[0]))
	at = putText(at, &procDir[0])
	poke(at, '/')
	at = h.putNumber(at+1, p.supervisor)
	putText(at, name)
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&Raw.buf[0])), _O_WRONLY|_O_CLOEXEC, 0, 0)
	if fd < 0 {
		return false
	}
	n := textLen(uintptr(unsafe.Pointer(text)))
	e := sys(_SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(text)), uintptr(n), 0, 0)
	closeFD(fd)
	return e == n
}

// putNumber writes a decimal number to an address and returns the next.
//
//go:nosplit
//go:norace
func (h *helper) putNumber(at uintptr, n int) uintptr {
	for i := h.digits(n); i < len(h.number); i++ {
		poke(at, h.number[i])
		at++
	}
	return at
}
