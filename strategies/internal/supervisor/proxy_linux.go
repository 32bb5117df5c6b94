package supervisor

import (
	"encoding/binary"
	"io"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runProxy is the life of an executable that was started as a supervisor: read
// the Spec, fork the supervisor, end as the leader ends. It never returns, and
// nothing of the host program's main runs.
func runProxy() {
	channel, err := openChannel()
	if err != nil {
		refuse(-1, RefusedPeer, err)
	}
	if secure() {
		refuse(channel, RefusedSecure, unix.EPERM)
	}
	unix.CloseOnExec(channel)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&argv0Name[0])), 0, 0, 0)
	restoreNofile()
	writeMessage(channel, OpHello, Version, uint32(os.Getpid()))
	var spec Spec
	if err := readSpec(channel, &spec); err != nil {
		refuse(channel, RefusedSpec, err)
	}
	if spec.OwnerFD >= 0 {
		unix.CloseOnExec(spec.OwnerFD)
	}
	if spec.Watch != "" {
		runWatcher(&spec, channel)
	}
	if spec.Attr.Foreground {
		unix.CloseOnExec(spec.Attr.ForegroundFD)
	}
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	l := launch{spec: &spec, ignored: IgnoredSignals(), channel: channel, parent: -1, grace: -1}
	leave := l.chooseGroups()
	c, err := l.start()
	if err != nil {
		refuse(channel, RefusedSetup, err)
	}
	dropStreams()
	_ = unix.Chdir("/")
	if spec.InitFlags == 0 { // else the owner has bound this process by SIGKILL
		// If somebody has stopped it, it wakes up to see whether the owner is gone.
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	}
	p := proxy{child: c, owner: spec.OwnerFD, channel: channel, leaveGroup: leave, leaveSession: l.groupShared}
	if !p.await() {
		p.takeOver(&spec, channel)
	}
	mirror(p.status)
}

// chooseGroups decides the process groups of proxy and leader.
//
// Where the leader shares its group with others (the service's group, if nothing
// else was asked for), the proxy is born in it, too, and leaves for a session of
// its own when the leader has started: see groupShared in settle.
//
// Where the leader is to lead a group, the proxy has a group of its own from the
// start. With Setpgid the leader joins that, whose number the service knows as
// cmd.Process.Pid, so that a signal to -cmd.Process.Pid reaches the leader and its
// group; the proxy is then to leave it, which is what chooseGroups reports.
//
// The numbers of process groups mean nothing in a new PID namespace: there the
// leader inherits its group from the proxy.
func (l *launch) chooseGroups() (leave bool) {
	a, numbers := &l.spec.Attr, !l.spec.newNumbers()
	l.groupOf = -1
	switch {
	case a.Setsid: // leads a group already
	case a.Setpgid && a.Pgid != 0:
		l.groupShared = true
		if numbers {
			l.groupOf = a.Pgid
		} else {
			_ = unix.Setpgid(0, a.Pgid)
		}
		return false
	case a.Foreground && !numbers:
		l.groupOf = 0
	case a.Setpgid || a.Foreground:
		if numbers {
			l.groupOf = os.Getpid()
		}
		leave = true
	default:
		l.groupShared = true
		return false
	}
	_ = unix.Setpgid(0, 0)
	return leave
}

// newNumbers reports whether the leader is born in a PID namespace of its own.
func (s *Spec) newNumbers() bool {
	return (s.InitFlags|s.Attr.Cloneflags)&unix.CLONE_NEWPID != 0
}

// openChannel finds the channel to the owner and checks that the owner's
// credentials are ours. A parent controls its child's descriptors, arguments
// and environment: this is no defence against the parent, but against being
// started by accident or across a change of credentials.
func openChannel() (int, error) {
	fd, err := strconv.Atoi(os.Getenv(FDEnv))
	if err != nil || fd < 3 {
		return -1, unix.EBADF
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	if int(peer.Uid) != os.Geteuid() || int(peer.Gid) != os.Getegid() {
		return -1, unix.EPERM
	}
	return fd, nil
}

// secure reports whether the kernel started this executable with more
// privileges than its caller has: setuid, setgid or file capabilities,
// AT_SECURE in getauxval(3).
func secure() bool {
	const atSecure = 23
	auxv, err := unix.Auxv()
	if err != nil {
		return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	}
	for _, entry := range auxv {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return false
}

// restoreNofile takes back the soft limit on open files that the Go runtime
// raised when this process started. The original value is known to package
// syscall alone, which restores it before an exec, even one that fails.
func restoreNofile() {
	_ = syscall.Exec("", nil, nil)
}

// readSpec reads a length of four bytes and as many bytes of Spec.
func readSpec(fd int, s *Spec) error {
	var head [4]byte
	if err := readFull(fd, head[:]); err != nil {
		return err
	}
	n := binary.NativeEndian.Uint32(head[:])
	if n > 64<<20 { // arguments and environment are bounded far below, execve(2)
		return errSpec
	}
	b := make([]byte, n)
	if err := readFull(fd, b); err != nil {
		return err
	}
	return s.Decode(b)
}

func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := readSome(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readSome is read(2) that no signal interrupts and for which the end is an error.
func readSome(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return 0, io.ErrUnexpectedEOF
		default:
			return n, err
		}
	}
}

// refuse ends this process before anything was started, with a word on
// standard error only if there is no owner to tell.
func refuse(channel int, why Refusal, err error) {
	var errno syscall.Errno
	if e, ok := err.(interface{ Unwrap() error }); ok {
		err = e.Unwrap()
	}
	if e, ok := err.(syscall.Errno); ok {
		errno = e
	}
	if channel >= 0 {
		writeMessage(channel, OpRefused, uint32(why), uint32(errno))
	} else {
		_, _ = os.Stderr.WriteString("contain: " + Argv0 + " is started by contain only; it was not run\n")
	}
	exit(125)
}

// proxy is what the proxy knows of its supervisor.
type proxy struct {
	child
	owner, channel int // -1 once the owner is gone
	leaveGroup     bool
	leaveSession   bool
	leader         int
	status         uint32
	failed         bool
}

// await waits until the supervisor says how to end, and reports false if the
// supervisor was killed before it could.
func (p *proxy) await() bool {
	for {
		var m Message
		p.awaitMirror()
		err := readFull(p.mirror, unsafe.Slice((*byte)(unsafe.Pointer(&m)), MessageSize))
		if err != nil {
			return false
		}
		switch m.Op {
		case OpStarted:
			p.leader = int(m.A)
			if p.leaveSession {
				// If it adopts the leader from a supervisor that was killed, it must not
				// be what keeps the group from being orphaned, either.
				_, _ = unix.Setsid()
			}
			if p.leaveGroup { // and leave its number to the leader
				_ = unix.Setpgid(0, p.pid)
			}
		case OpReady, OpFailed:
			p.status, p.failed = 127<<8, true
			p.reapSupervisor()
			return true
		case OpMirror:
			p.status = m.A
			if m.B&MirrorEnds != 0 {
				p.reapSupervisor()
			}
			return true
		}
	}
}

// awaitMirror waits until the supervisor has something to say. When the owner ends
// it continues the supervisor, which somebody may have stopped: as a child that
// has not been waited for its PID is its own.
func (p *proxy) awaitMirror() {
	for {
		fds := [...]pollFD{
			{fd: int32(p.mirror), events: unix.POLLIN},
			{fd: int32(p.owner), events: unix.POLLIN},
			{fd: int32(p.channel)}, // what it says is for the supervisor
		}
		if poll(&fds[0], len(fds), -1, &raw.ts) < 0 {
			continue
		}
		if fds[1].revents != 0 || fds[2].revents != 0 {
			p.owner, p.channel = -1, -1
			_ = unix.Kill(p.pid, unix.SIGCONT)
		}
		if fds[0].revents != 0 {
			return
		}
	}
}

// takeOver ends what a killed supervisor has left, and tells the owner. Past the
// deadline something is left that cannot die yet, such as a process in
// uninterruptible sleep: then the owner is told so, and this goes on.
func (p *proxy) takeOver(spec *Spec, channel int) {
	status, _, empty := endOrphans(spec, p.leader)
	p.status = status
	if !empty {
		writeMessage(channel, OpLate, 0, 0)
	}
	for !empty {
		_, _, empty = endOrphans(spec, 0)
	}
	writeMessage(channel, OpEmpty, 0, 0)
}

// reapSupervisor waits for the supervisor, which has said that it ends, so that
// it is no zombie to a PID 1 that does not reap.
func (p *proxy) reapSupervisor() {
	for {
		_, err := unix.Wait4(p.pid, nil, unix.WALL, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// endOrphans takes over from a supervisor that was killed: its children have
// become this process's. It returns the leader's wait status, how many had to be
// killed, and whether all of them were gone before the kill deadline. Only the main
// thread adopts, and only its children are listed: see find_child_reaper in Linux'
// kernel/exit.c.
func endOrphans(s *Spec, leader int) (status uint32, forced int, empty bool) {
	status = uint32(unix.SIGKILL)
	r := &raw
	pid := strconv.Itoa(os.Getpid())
	children, err := unix.Open("/proc/self/task/"+pid+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		children = -1 // of another PID namespace, say: cgroup.kill can do without
	}
	defer unix.Close(children)
	r.children, r.killSignal = children, uintptr(s.KillSignal)
	// What an init sends to everyone would from here reach the whole host.
	r.initflags = 0
	r.killing = true
	deadline := nowMillis(&r.ts) + s.KillDeadline.Milliseconds()
	for {
		r.killChildren()
		late := nowMillis(&r.ts) >= deadline
		for n := 0; n < reapAtOnceKilling && (r.alive == 0 || late); n++ { // see reap
			var ws unix.WaitStatus
			got, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WALL, nil)
			if got == leader && got > 0 {
				status = uint32(ws)
			}
			if got > 0 && ws.Signaled() && int(ws.Signal()) == s.KillSignal {
				forced++
			}
			if err == unix.ECHILD {
				return status, forced, true
			}
			if got <= 0 && err != unix.EINTR {
				break
			}
		}
		if late {
			return status, forced, false
		}
		poll(nil, 0, 1, &r.ts)
	}
}

// mirror ends this process as the leader ended: the same exit code, or the same
// signal. A signal that dumps core must not dump this process's.
func mirror(status uint32) {
	ws := unix.WaitStatus(status)
	if !ws.Signaled() {
		exit(ws.ExitStatus())
	}
	sig := int(ws.Signal())
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	setDisposition(sig, sigDfl, &raw.act)
	setMask(0)
	_ = unix.Kill(os.Getpid(), ws.Signal())
	poll(nil, 0, 1000, &raw.ts)
	exit(128 + sig)
}
