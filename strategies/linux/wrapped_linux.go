package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unsafe"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// wrapped is a command that something else is to start. All that a library keeps of an
// exec.Cmd is its Path, which execve(2) hands on. So that becomes a path to a descriptor
// of the supervisor's executable, close-on-exec, whose number names the command; the helper that
// begins there asks the socket of that name in the owner what it is to start. Arguments,
// environment, directory and attributes remain the command's own.
type wrapped struct {
	path     string // the command's own
	image    int    // the number in its new path
	cmd      weak.Pointer[exec.Cmd]
	listener *os.File

	settled chan struct{} // closed when it has been started, or will never be
	mu      sync.Mutex
	ended   bool
	why     error // it has not been started contained
}

// A prepare adds what a strategy makes for a backend that is being started. It returns
// a descriptor for the leader to move itself by, or -1, and what ends all that it made. sameUser says
// whether the helper has this process's user.
type prepare func(spec *supervisor.Spec, sameUser bool) (procs int, end func() error, err error)

// errNotStarted is about a wrapped command.
var errNotStarted = errors.New("the wrapped command has not been started yet")

// wrap changes cmd. prepare, if not nil, adds what the strategy makes for the backend when
// that is started, and returns what ends it.
func (i *supervised) wrap(cmd *exec.Cmd, opts registry.StartOptions, b *backends.Set, prepare prepare) (registry.Process, error) {
	op := "wrap " + cmd.Path
	if err := b.Begin(op, i.strategy); err != nil {
		return nil, err
	}
	defer b.End()
	if err := i.passable(opts); err != nil {
		return nil, i.error(op, err)
	}
	w, err := i.rendezvous()
	if err != nil {
		return nil, i.error(op, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
	}
	w.path, w.cmd = cmd.Path, weak.Make(cmd)
	if len(cmd.Args) == 0 { // which os/exec takes for the path
		cmd.Args = []string{cmd.Path}
	}
	cmd.Path = w.newPath()
	t := newTree(&handshake{owner: i, path: w.path}, nil, b)
	t.wrapped = w
	t.ask(opts)
	b.Add(t)
	go t.followWrapped(opts, prepare)
	return t, nil
}

// passable returns why opts cannot be had.
func (i *supervised) passable(opts registry.StartOptions) error {
	if err := opts.RefuseBreakaway("every backend is a descendant of a supervisor that ends it"); err != nil {
		return err
	}
	if i.initFlags != 0 && opts.OnLeaderExit != registry.LeaderExitKill {
		return fmt.Errorf("%w: a PID namespace ends with its init, so what the leader leaves can be neither waited for, nor asked to end, nor let go; name linux/subreaper", registry.ErrNotPassed)
	}
	return nil
}

// rendezvous opens a descriptor of the executable and the socket that has its number.
// A name that is taken, from another container on this network perhaps, is passed over.
func (i *supervised) rendezvous() (*wrapped, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	var taken []int
	defer func() {
		for _, image := range taken {
			_ = unix.Close(image)
		}
	}()
	for len(taken) < 100 {
		image, err := outOfTheWay(i.image)
		if err != nil {
			_ = unix.Close(fd)
			return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		name := "@" + entry.SocketMark + strconv.Itoa(os.Getpid()) + "/" + strconv.Itoa(image)
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err == nil {
			err = unix.Listen(fd, 8)
		}
		if err == nil {
			return &wrapped{image: image, listener: os.NewFile(uintptr(fd), name), settled: make(chan struct{})}, nil
		}
		taken = append(taken, image)
		if err != unix.EADDRINUSE {
			_ = unix.Close(fd)
			return nil, os.NewSyscallError("bind "+name, err)
		}
	}
	_ = unix.Close(fd)
	return nil, fmt.Errorf("bind @%s%d/…: %w", entry.SocketMark, os.Getpid(), unix.EADDRINUSE)
}

// newPath returns the path that names w. While a string refers to its bytes, whoever
// holds it, the number is not used for anything else. When none does, the command
// cannot be started any more.
func (w *wrapped) newPath() string {
	text := append(make([]byte, 0, 64), w.pathText()...)
	runtime.AddCleanup(&text[0], func(w *wrapped) {
		w.end(errors.New("the wrapped command was never started, and has been collected"))
		_ = unix.Close(w.image)
	}, w)
	return unsafe.String(&text[0], len(text))
}

func (w *wrapped) pathText() string { return entry.PathMark + strconv.Itoa(w.image) }

// end has nothing start any more.
func (w *wrapped) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == nil && !w.ended {
		w.why = why
	}
	w.ended = true
	_ = w.listener.Close()
}

// accept waits for the helper, and returns the channel to it and who it is.
func (w *wrapped) accept() (channel *os.File, peer *unix.Ucred, err error) {
	conn, err := w.listener.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	for {
		fd, aerr := -1, error(nil)
		err := conn.Read(func(listener uintptr) bool {
			fd, _, aerr = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return aerr != unix.EAGAIN && aerr != unix.EINTR && aerr != unix.ECONNABORTED
		})
		if err == nil {
			err = os.NewSyscallError("accept", aerr)
		}
		if err != nil {
			return nil, nil, err
		}
		peer, err := w.verify(fd)
		w.mu.Lock()
		w.why = err // until the right one comes
		w.mu.Unlock()
		if err == nil {
			return os.NewFile(uintptr(fd), "supervisor"), peer, nil
		}
		_ = unix.Close(fd)
	}
}

// verify returns who is at the other end, which must be a child of this process that
// runs the supervisor's executable: a name is no credential.
func (w *wrapped) verify(fd int) (*unix.Ucred, error) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	pid := int(peer.Pid)
	p, err := proctree.Lookup(pid)
	if err != nil || p.PPID != os.Getpid() {
		return nil, fmt.Errorf("process %d has asked for the wrapped command and is no child of this one", pid)
	}
	var ours, its unix.Stat_t
	exe := "/proc/" + strconv.Itoa(pid) + "/exe"
	if err := unix.Fstat(w.image, &ours); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if err := unix.Stat(exe, &its); err != nil {
		return nil, fmt.Errorf("what process %d runs, which has asked for the wrapped command, cannot be seen: %w", pid, &os.PathError{Op: "stat", Path: exe, Err: err})
	}
	if ours.Dev != its.Dev || ours.Ino != its.Ino {
		return nil, fmt.Errorf("process %d has asked for the wrapped command and runs another program", pid)
	}
	return peer, nil
}

// followWrapped waits for a start that somebody else makes.
func (t *tree) followWrapped(opts registry.StartOptions, prepare prepare) {
	w := t.wrapped
	channel, peer, err := w.accept()
	if err == nil {
		t.mu.Lock()
		t.h.channel, t.h.proxy = channel, int(peer.Pid)
		t.mu.Unlock()
		err = t.startWrapped(opts, prepare, int(peer.Uid) == os.Geteuid())
		w.end(err)
	}
	close(w.settled)
	t.follow()
}

// startWrapped tells the helper what to start.
func (t *tree) startWrapped(opts registry.StartOptions, prepare prepare, sameUser bool) error {
	w := t.wrapped
	spec := newSpec()
	spec.InitFlags, spec.Path, spec.OnLeaderExit = t.h.owner.initFlags, w.path, toldExit(opts.OnLeaderExit)
	spec.Ignored = supervisor.IgnoredSignals()
	if f := ownPidfd(); f != nil {
		spec.OwnerFD = int(f.Fd())
	}
	if spec.InitFlags != 0 && !sameUser { // which alone may make a PID namespace otherwise
		spec.InitFlags |= unix.CLONE_NEWUSER
		if t.h.owner.tied() {
			spec.InitFlags |= entry.CloneNoNewPrivileges
		}
	}
	procs, err := -1, error(nil)
	if prepare != nil {
		procs, t.clean, err = prepare(spec, sameUser)
		defer func() {
			for _, fd := range []int{spec.CgroupFD, spec.KillFD, procs} {
				_ = unix.Close(fd)
			}
		}()
		if err != nil {
			return err
		}
	}
	if t.h.block, t.h.files, err = spec.Block(true, procs); err != nil {
		return execError(w.path, err)
	}
	w.mu.Lock()
	t.mu.Lock()
	t.begun = !w.ended
	t.mu.Unlock()
	w.mu.Unlock()
	if !t.begun { // this installation was closed meanwhile; the helper reads the end
		return registry.ErrClosed
	}
	m, err := t.h.exchange()
	if err != nil {
		return err
	}
	t.started(m)
	return nil
}

// Contained says whether a wrapped command has been started contained: nil if so.
func (t *tree) Contained() error {
	w := t.wrapped
	if w == nil {
		return nil
	}
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	if begun {
		<-w.settled
	}
	w.mu.Lock()
	why := w.why
	w.mu.Unlock()
	if begun && why == nil {
		return nil
	}
	if cmd := w.cmd.Value(); cmd != nil && cmd.Process != nil {
		if cmd.Path != w.pathText() {
			why = fmt.Errorf("the path of the wrapped command was replaced by %q, which was started without containment", cmd.Path)
		} else if why == nil {
			why = errors.New("the wrapped command was started and has not found this process, so nothing runs if it exits with 125: it may be in another PID or network namespace")
		}
	}
	if why == nil {
		why = errNotStarted
	}
	return t.h.owner.error("start "+w.path, why)
}

// Settled implements [registry.Wrapped].
func (t *tree) Settled() <-chan struct{} {
	if t.wrapped == nil {
		return closed
	}
	return t.wrapped.settled
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Started implements [registry.Wrapped].
func (t *tree) Started() bool {
	select {
	case <-t.Settled():
	default:
		return false
	}
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	if w := t.wrapped; w != nil && begun {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.why == nil
	}
	return begun
}

// wrappedLimits are what a start by somebody else cannot promise.
var wrappedLimits = []string{
	"it was started by whatever thread called cmd.Start, so no parent-death signal binds it to this process: owner and supervisor killed in the same instant leave what is not the leader, under linux/pidns as well",
	"proxy and supervisor have what SysProcAttr says (user, root, namespaces), so a backend of the same user can kill them",
	"a command that cannot be executed is known from Contained and by the exit status 127, not from cmd.Start",
	"its descriptors are closed in this process when the last of it has ended, which may be after cmd.Wait",
	"with Setpgid or Setsid the command is a member of the group and session that its proxy leads, and a signal to the group that is no terminal's reaches it twice",
	"where its executable is linked dynamically, or not with the entry, LD_PRELOAD and GODEBUG of the command act on the proxy, too",
}

// Limits says what holds for this backend alone.
func (t *tree) Limits() []string {
	if t.wrapped == nil {
		return nil
	}
	return append([]string(nil), wrappedLimits...)
}

// Wrap implements [registry.Wrapper].
func (i *supervised) Wrap(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	return i.wrap(cmd, opts, &i.backends, nil)
}

// Wrap implements [registry.Wrapper]: the leader is born in a cgroup of its own, by a
// supervisor.
func (i *cgroupInstallation) Wrap(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	return i.service.installer.wrap(cmd, opts, &i.backends, i.service.bearWrapped)
}

// bearWrapped has the leader born in a cgroup of its own, or move itself there.
func (s *cgroupService) bearWrapped(spec *supervisor.Spec, sameUser bool) (procs int, end func() error, err error) {
	if err := s.watched(); err != nil {
		return -1, nil, err
	}
	g, err := s.newGroup()
	if err != nil {
		return -1, nil, err
	}
	spec.Cgroup = string(g)
	end = func() error { return g.End(time.Now().Add(registry.SupervisorKillDeadline)) }
	if spec.OnLeaderExit == supervisor.LeaderExitLeave {
		end = func() error { return errors.Join(g.MoveTo(s.own), g.Remove()) }
	}
	open := func(name string, flags int) int {
		fd, oerr := unix.Open(string(g)+name, flags|unix.O_CLOEXEC, 0)
		if oerr != nil && err == nil {
			err = &os.PathError{Op: "open", Path: string(g) + name, Err: oerr}
		}
		return fd
	}
	// Before Linux 5.14 there is none; the supervisor then kills one by one.
	spec.KillFD = open("/cgroup.kill", unix.O_WRONLY)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if procs = -1; sameUser {
		spec.CgroupFD = open("", unix.O_PATH|unix.O_DIRECTORY)
	} else {
		procs = open("/cgroup.procs", unix.O_WRONLY)
	}
	return procs, end, err
}
