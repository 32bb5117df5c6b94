package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// ownPidfd refers to this process; supervisors watch it. It is nil where
// pidfd_open(2) is missing (before Linux 5.3) or refused: the end of the channel
// then is all that tells a supervisor of the owner's end.
var ownPidfd = sync.OnceValue(func() *os.File {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd of this process")
})

// supervised is the installation of every strategy whose backends run below a
// supervisor of their own.
type supervised struct {
	strategy   string
	cleanup    registry.Cleanup
	executable string // the path of the supervisor's, see ownExecutable
	image      int    // a descriptor of it, never closed
	// initFlags makes the supervisor the init of a PID namespace, and ties the
	// proxy to this process by a parent-death signal.
	initFlags uint64
	// runBy, if not nil, is what Run runs in place of supervisor.Run.
	runBy    func(context.Context, *supervisor.RunSpec) (supervisor.Result, error)
	backends backends.Set
}

// newSupervised finds the executable that serves as the supervisor and starts
// it once, to see that it does.
func newSupervised(ctx context.Context, strategy string, initFlags uint64, opts registry.InstallOptions) (*supervised, error) {
	i, err := findSupervisor(strategy, initFlags, opts)
	if err == nil {
		err = i.probe(ctx)
	}
	if err != nil {
		return nil, (&supervised{strategy: strategy}).error("install", err)
	}
	return i, nil
}

// ownExecutable is this process's. It is not os.Executable's path, whose file may have been
// replaced since.
const ownExecutable = "/proc/self/exe"

// ownWay returns the way in which supervisors begin that are this executable, "" if none has
// been started yet.
func ownWay() (way string) {
	probed.Range(func(key, _ any) bool {
		if key := key.(probeKey); key.executable == ownExecutable {
			way = key.way()
		}
		return way == ""
	})
	return way
}

// SupervisorWay implements [registry.Supervised].
func (subreaper) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (cgroup) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (pidns) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (autokill) SupervisorWay() string { return ownWay() }

// findSupervisor finds the executable.
func findSupervisor(strategy string, initFlags uint64, opts registry.InstallOptions) (*supervised, error) {
	i := &supervised{strategy: strategy, executable: ownExecutable, initFlags: initFlags}
	if opts.Supervisor != "" {
		i.executable = opts.Supervisor
	} else if mode := buildMode(); mode != "" {
		return nil, i.error("install", fmt.Errorf("%w: this is a %s build inside another program, which cannot be started again as a supervisor; set Supervisor to an installed contain command", errors.ErrUnsupported, mode))
	}
	if !supervisor.Helpers {
		return nil, i.error("install", fmt.Errorf("%w: there is no supervisor for %s", errors.ErrUnsupported, runtime.GOARCH))
	}
	var err error
	if i.image, err = openImage(i.executable); err != nil {
		return nil, i.error("install", fmt.Errorf("%w: %w: %w", errors.ErrUnsupported, registry.ErrSupervisor, err))
	}
	return i, nil
}

// openImage returns a descriptor of an executable, close-on-exec and never closed, by
// which it is executed whatever becomes of its path: one for each file.
func openImage(path string) (int, error) {
	images.mu.Lock()
	defer images.mu.Unlock()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	key := imageKey{st.Dev, st.Ino}
	if have, ok := images.open[key]; ok {
		return have, nil
	}
	if fd, err = outOfTheWay(fd); err != nil {
		return -1, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	if images.open == nil {
		images.open = make(map[imageKey]int)
	}
	images.open[key] = fd
	return fd, nil
}

// outOfTheWay duplicates a descriptor to a high number. In the child, where the path
// of the helper is looked up, package syscall lays the command's own files from 0 on,
// and before that may move them to numbers behind the highest of them.
func outOfTheWay(fd int) (high int, err error) {
	for _, from := range [...]int{800, 200, 100, 50, 20} { // as the limit on open files allows
		if high, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, from); err != unix.EINVAL {
			break
		}
	}
	return high, err
}

type imageKey struct{ dev, ino uint64 }

var images struct {
	mu   sync.Mutex
	open map[imageKey]int
}

// error wraps err unless it is wrapped already.
func (i *supervised) error(op string, err error) error {
	var own *registry.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &registry.Error{Op: op, Strategy: i.strategy, Err: err}
}

// buildMode returns c-shared, c-archive or plugin, or "" for a program.
var buildMode = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-buildmode" && s.Value != "exe" && s.Value != "pie" {
				return s.Value
			}
		}
	}
	return ""
})

// tied reports whether supervisors are tied to a pidfd of theirs.
func (i *supervised) tied() bool { return i.initFlags&entry.CloneTied != 0 }

func (i *supervised) Cleanup() registry.Cleanup { return i.cleanup }

// SupervisorWay implements [registry.Supervised].
func (i *supervised) SupervisorWay() string {
	return probeKey{i.executable, i.initFlags, false}.way()
}

func (i *supervised) Close(ctx context.Context) error {
	return i.backends.Close(ctx, i.strategy)
}

// probe starts a supervisor without a backend: once for each executable.
func (i *supervised) probe(ctx context.Context) error {
	key := probeKey{i.executable, i.initFlags, false}
	if _, done := probed.Load(key); done || ctx.Err() != nil {
		return ctx.Err()
	}
	spec := newSpec()
	spec.Probe, spec.Files, spec.InitFlags = true, 3, i.initFlags
	cmd := exec.Command(i.executable)
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return err
	}
	defer h.close()
	if err := cmd.Start(); err != nil {
		return refusal(fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, i.executable, err))
	}
	if err := h.shakeFirst(ctx, cmd); err != nil {
		return err
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	probed.Store(key, h.way)
	return nil
}

var probed sync.Map // of probeKey to entry.Way

type probeKey struct {
	executable string
	initFlags  uint64
	watch      bool // linux/cgroup's
}

// way returns the way in which the helper began, "" if it has not.
func (k probeKey) way() string {
	if way, ok := probed.Load(k); ok {
		return way.(entry.Way).String()
	}
	return ""
}

func (i *supervised) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := startable(cmd); err != nil {
		return nil, err
	}
	if err := i.backends.Begin("start "+cmd.Path, i.strategy); err != nil {
		return nil, err
	}
	defer i.backends.End()
	if i.initFlags != 0 && toldExit(opts.OnLeaderExit) == supervisor.LeaderExitWait {
		return nil, refuseStart(cmd, i.error("start "+cmd.Path, fmt.Errorf("%w: cmd.Process, which ends with the leader, takes the PID namespace with it, so what the leader leaves can be neither waited for nor asked to end; name linux/subreaper", registry.ErrNotPassed)))
	}
	spec, err := i.specFor(cmd, opts)
	if err != nil {
		return nil, refuseStart(cmd, i.attributeError(cmd.Path, err))
	}
	before := *cmd
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return nil, refuseStart(cmd, err)
	}
	err = h.start(cmd)
	restore(cmd, &before)
	if err != nil {
		return nil, err
	}
	m, err := h.shake(i.backends.Closing())
	if err != nil {
		h.giveUp(cmd)
		return nil, cmp.Or(contextEnded(&before), err)
	}
	t := newTree(h, cmd, &i.backends)
	t.started(m) // before a Close can see it: that ends what it knows of
	t.ask(opts)
	i.backends.Add(t)
	go t.follow()
	return t, nil
}

// attributeError names the strategy in an error about what cannot be passed,
// and leaves those that os/exec would have returned as they are.
func (i *supervised) attributeError(path string, err error) error {
	if errors.Is(err, registry.ErrNotPassed) || errors.Is(err, errors.ErrUnsupported) {
		return i.error("start "+path, err)
	}
	return err
}

// handshake is the owner's side of a supervisor that is being started.
type handshake struct {
	owner   *supervised
	path    string
	channel *os.File // to the supervisor
	theirs  *os.File // its end of that
	also    []*os.File
	block   []byte
	files   []int // go with the block
	proxy   int   // its PID, once it has said hello
	way     entry.Way
	ended   bool // the leader, before its start was reported
	status  uint32
	tie     *os.File // the supervisor ends when this is closed; nil if it is not tied
}

// rewrite makes cmd start the supervisor, and the supervisor what cmd was.
func (i *supervised) rewrite(cmd *exec.Cmd, spec *supervisor.Spec) (*handshake, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, i.error("start "+cmd.Path, fmt.Errorf("%w: %w", registry.ErrSupervisor, os.NewSyscallError("socketpair", err)))
	}
	// Non-blocking on this side only: os/exec passes theirs as it is.
	_ = unix.SetNonblock(fds[0], true)
	h := &handshake{
		owner:   i,
		path:    cmd.Path,
		channel: os.NewFile(uintptr(fds[0]), "supervisor"),
		theirs:  os.NewFile(uintptr(fds[1]), "owner"),
	}
	extra := append(cmd.ExtraFiles[:len(cmd.ExtraFiles):len(cmd.ExtraFiles)], h.theirs)
	number := 2 + len(extra)
	if f := ownPidfd(); f != nil {
		spec.OwnerFD = int(f.Fd())
	}
	if a := cmd.SysProcAttr; a != nil && a.Foreground {
		fd, err := unix.FcntlInt(uintptr(a.Ctty), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			h.close()
			return nil, execError(cmd.Path, err)
		}
		h.also = append(h.also, os.NewFile(uintptr(fd), "terminal"))
		spec.Attr.ForegroundFD = fd
	}
	if h.block, h.files, err = spec.Block(false, -1); err != nil {
		h.close()
		return nil, execError(h.path, err)
	}

	cmd.Path, cmd.Args, cmd.Dir = entry.StartMark+strconv.Itoa(i.image), []string{supervisor.Argv0}, ""
	cmd.Env = []string{supervisor.FDEnv + "=" + strconv.Itoa(number)}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok { // a program linked dynamically may need it to start
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v)
	}
	cmd.ExtraFiles = extra
	cmd.SysProcAttr = proxyAttr(cmd.SysProcAttr)
	if i.initFlags != 0 && !i.tied() {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = new(syscall.SysProcAttr)
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return h, nil
}

// restore gives cmd back what rewrite took.
func restore(cmd, before *exec.Cmd) {
	cmd.Path, cmd.Args, cmd.Dir, cmd.Env = before.Path, before.Args, before.Dir, before.Env
	cmd.ExtraFiles, cmd.SysProcAttr = before.ExtraFiles, before.SysProcAttr
}

// start starts the proxy.
func (h *handshake) start(cmd *exec.Cmd) error {
	var err error
	if h.owner.initFlags == 0 || h.owner.tied() {
		err = cmd.Start()
	} else if differs := onThreadAs(func() { err = cmd.Start() }); differs != nil {
		err = h.owner.error("start "+h.path, fmt.Errorf("%w: %w", registry.ErrNotPassed, differs))
	}
	if err == nil {
		return nil
	}
	h.close()
	var pe *os.PathError
	if a := cmd.SysProcAttr; errors.As(err, &pe) && pe.Path == cmd.Path && a != nil && a.UseCgroupFD {
		return execError(h.path, pe.Err) // most likely the cgroup's fault
	}
	if errors.As(err, &pe) && pe.Path == cmd.Path {
		return h.owner.error("start "+h.path, fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, pe.Path, pe.Err))
	}
	return err // os/exec's own, such as a context that is done
}

// shake tells the supervisor about the backend and waits until the backend has
// exec'd, or for a probe, until everything is in place. By then the owner is
// watched. It waits for as long as ctx does: a busy host delays a start, and if
// proxy or supervisor ends, that is heard at once.
func (h *handshake) shake(ctx context.Context) (supervisor.Message, error) {
	stop := context.AfterFunc(ctx, func() { _ = h.channel.SetDeadline(time.Unix(1, 0)) })
	m, err := h.exchange()
	if !stop() {
		err = h.owner.error("start "+h.path, context.Cause(ctx))
	}
	if h.tie != nil && (err != nil || m.Op != supervisor.OpStarted) {
		h.tie.Close()
	}
	return m, err
}

func (h *handshake) exchange() (supervisor.Message, error) {
	h.theirs.Close()
	var none supervisor.Message
	fail := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			err = fmt.Errorf("it ended before the backend was started; was it killed, or is the executable no contain supervisor? (%w)", io.ErrUnexpectedEOF)
		}
		return h.owner.error("start "+h.path, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
	}
	err := h.tell()
	h.dropTheirs()
	if err != nil {
		return none, fail(fmt.Errorf("tell the supervisor what to start: %w", err))
	}
	for {
		m, err := h.receive()
		if err != nil {
			return none, fail(err)
		}
		switch m.Op {
		case supervisor.OpHello:
			h.proxy, h.way = int(m.B), entry.Way(m.C)
			if m.A != entry.Version {
				return none, fail(fmt.Errorf("it speaks version %d of the protocol, this program speaks %d; install the same version of contain", m.A, entry.Version))
			}
		case supervisor.OpRefused:
			if refusal := supervisor.Refusal(m.A); refusal == supervisor.RefusedSetup {
				return none, fail(&supervisor.StartError{Step: supervisor.StepFork, Err: syscall.Errno(m.B)})
			}
			return none, fail(fmt.Errorf("it refused: %s: %w", refusals[supervisor.Refusal(m.A)], syscall.Errno(m.B)))
		case supervisor.OpFailed:
			step, errno := supervisor.Step(m.A), syscall.Errno(m.B)
			if step > supervisor.StepGuard { // what os/exec would have met, too
				return none, execError(h.path, errno)
			}
			return none, fail(&supervisor.StartError{Step: step, Err: errno})
		case supervisor.OpLeader:
			h.ended, h.status = true, m.A
		case supervisor.OpReady, supervisor.OpStarted:
			if h.tie == nil && h.owner.tied() {
				return none, fail(errors.New("it has not handed over the pidfd that it is tied to"))
			}
			return m, nil
		}
	}
}

// giveUp ends what has been started, and returns when nothing of it runs.
func (h *handshake) giveUp(cmd *exec.Cmd) {
	var init proctree.Process
	if h.owner.initFlags != 0 && h.proxy != 0 {
		init, _ = initAndLeader(h.proxy)
	}
	if conn, err := h.channel.SyscallConn(); err == nil {
		shutdownWrite(conn)
	}
	_ = cmd.Process.Kill()
	abandon(cmd)
	_ = h.channel.SetDeadline(time.Now().Add(registry.SupervisorKillDeadline))
	_, _ = io.Copy(io.Discard, h.channel) // until the supervisor has ended
	awaitInit(init)
	h.close()
}

// tell writes the block.
func (h *handshake) tell() error {
	conn, err := h.channel.SyscallConn()
	if err != nil {
		return err
	}
	head := h.block[:supervisor.BlockHead]
	var rights []byte
	if len(h.files) > 0 {
		rights = unix.UnixRights(h.files...)
	}
	var serr error
	err = conn.Write(func(fd uintptr) bool {
		_, serr = unix.SendmsgN(int(fd), head, rights, nil, unix.MSG_NOSIGNAL)
		return serr != unix.EAGAIN && serr != unix.EINTR
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", serr)
	}
	if err == nil && len(h.block) > len(head) {
		_, err = h.channel.Write(h.block[len(head):])
	}
	return err
}

var refusals = map[supervisor.Refusal]string{
	supervisor.RefusedSecure: "the executable is setuid, setgid or has file capabilities",
	supervisor.RefusedPeer:   "the credentials of owner and supervisor differ",
	supervisor.RefusedSpec:   "the description of the backend could not be read",
}

func (h *handshake) dropTheirs() {
	h.theirs.Close()
	for _, f := range h.also {
		f.Close()
	}
}

func (h *handshake) close() {
	h.dropTheirs()
	h.channel.Close()
}

func readMessage(r io.Reader) (supervisor.Message, error) {
	var m supervisor.Message
	_, err := io.ReadFull(r, unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize))
	return m, err
}

// argv0Name is the thread's name of a supervisor, as long as one may be.
var argv0Name = supervisor.Argv0[:15]

// abandon collects a process that was started and will not be used, and leaves
// cmd as a failed exec.Cmd.Start does. exec.Cmd.Wait would wait for the reader that
// feeds cmd.Stdin, too, which may never return; a copy of cmd does so if need be.
func abandon(cmd *exec.Cmd) {
	_, _ = cmd.Process.Wait()
	rest := *cmd
	rest.WaitDelay = time.Millisecond // then the pipes are closed
	done := make(chan struct{})
	go func() { defer close(done); _ = rest.Wait() }()
	select {
	case <-done:
		cmd.Process = nil
	case <-time.After(50 * time.Millisecond):
		// cmd.Cancel may still refer to cmd.Process, which has been collected.
	}
}

// tree is a backend below its supervisor.
type tree struct {
	h        *handshake
	cmd      *exec.Cmd
	backends *backends.Set
	done     chan struct{}
	ended    chan struct{} // closed when state is known, or will never be
	endOnce  sync.Once

	mu         sync.Mutex
	begun      bool // the proxy runs
	leader     int
	supervisor proctree.Process
	reap       int  // a pidfd of the supervisor, -1 if another will reap it
	exited     bool // the leader
	pidfd      int  // of a leader that its supervisor may not outlive, or -1
	state      registry.ExitState
	stateKnown bool
	lost       bool // proxy and supervisor ended without a report
	wrapped    *wrapped
	asksOnce   bool        // with registry.LeaderExitTerm
	asked      atomic.Bool // to end, if asksOnce
	// clean, if not nil, ends and removes what the strategy made for this backend.
	clean func() error
}

func newTree(h *handshake, cmd *exec.Cmd, b *backends.Set) *tree {
	return &tree{h: h, cmd: cmd, backends: b, done: make(chan struct{}), ended: make(chan struct{}), reap: -1, pidfd: -1}
}

func (t *tree) started(m supervisor.Message) {
	if t.h.ended {
		t.leaderEnded(t.h.status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun, t.leader = true, int(m.A)
	if t.h.owner.initFlags != 0 {
		t.supervisor, t.leader = initAndLeader(t.h.proxy)
		t.pidfd, _ = childPidfd(t.leader, t.supervisor)
		return // an init does not survive its proxy
	}
	defer func() { t.reap = adoptable(t.supervisor.PID) }()
	// The supervisor may have gone already, and its PID may be another's: then
	// nobody is below it.
	if s, err := proctree.Lookup(int(m.B)); err == nil && s.PPID == t.h.proxy && s.Name == argv0Name {
		t.supervisor = s
	}
}

// adoptable returns a pidfd of the supervisor if it would become this process's
// child when its proxy is killed: then this process must reap it. It is -1 where
// PID 1 or a subreaper above does.
func adoptable(pid int) int {
	if pid == 0 {
		return -1
	}
	var subreaper int32
	_ = unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0)
	if subreaper == 0 && os.Getpid() != 1 {
		return -1
	}
	fd, _ := unix.PidfdOpen(pid, 0)
	return fd
}

// collect reaps a supervisor that this process has adopted. A wait for anything
// but this one pidfd could take a status that is os/exec's.
func (t *tree) collect() {
	t.mu.Lock()
	fd := t.reap
	t.reap = -1
	t.mu.Unlock()
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	for unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED, nil) == unix.EINTR {
		continue
	}
}

// initAndLeader finds the init below proxy and the leader below that, whose own
// numbers are those of their namespace: the leader is the first that it forked.
func initAndLeader(proxy int) (init proctree.Process, leader int) {
	below, err := proctree.Descendants(proxy)
	if err != nil || len(below) == 0 || below[0].PPID != proxy {
		return init, 0 // it has gone already
	}
	init = below[0]
	for _, p := range below[1:] {
		if p.PPID == init.PID && numberIn(init, p) == "2" {
			return init, p.PID
		}
	}
	return init, 0
}

// numberIn returns the PID of p in init's PID namespace, "" if it is not known: in
// NSpid of proc_pid_status(5), from the reader's namespace inwards, it has the place
// of init's own, which is the last.
func numberIn(init, p proctree.Process) string {
	depth, numbers := len(proctree.Status(init.PID, "NSpid")), proctree.Status(p.PID, "NSpid")
	if depth == 0 || len(numbers) < depth {
		return ""
	}
	return numbers[depth-1]
}

// follow reads what the supervisor reports until it has nothing left to report.
func (t *tree) follow() {
	defer t.collect()
	defer close(t.done)
	defer t.noMoreKnown()
	defer t.backends.Remove(t)
	if t.clean != nil {
		defer retry(t.clean)
	}
	defer t.h.channel.Close()
	defer t.h.untie()
	for {
		m, err := readMessage(t.h.channel)
		if err != nil {
			t.lose()
			return
		}
		switch m.Op {
		case supervisor.OpLeader:
			t.leaderEnded(m.A)
		case supervisor.OpEmpty:
			return
		}
	}
}

// lose takes note that the supervisor has ended without a report.
func (t *tree) lose() {
	t.mu.Lock()
	t.exited = true
	begun, init := t.begun, t.supervisor
	if t.h.owner.initFlags == 0 {
		defer t.mu.Unlock()
		if t.lost = t.leader != 0 && t.clean == nil; t.lost { // else it was wrapped, and never started
			t.backends.Lose(fmt.Errorf("of backend %d: %w", t.leader, errLost))
		}
		return
	}
	t.mu.Unlock()
	// The kernel ends the tree with its init. The proxy may be stopped, and then has
	// not seen it.
	if begun && t.cmd != nil {
		_ = t.cmd.Process.Signal(syscall.SIGCONT)
	}
	awaitInit(init)
	t.mu.Lock()
	fd := t.pidfd
	t.mu.Unlock()
	if status, ok := exitStatus(fd); ok {
		t.leaderEnded(status)
	}
}

// awaitInit returns when nothing is left of a PID namespace whose init is ending. An
// exiting process closes its files first, then kills and reaps all that is in its
// namespace, and is a zombie only then: zap_pid_ns_processes in kernel/pid_namespace.c.
func awaitInit(init proctree.Process) {
	for pause := 100 * time.Microsecond; init.PID != 0; pause = min(2*pause, 100*time.Millisecond) {
		if now, err := proctree.Lookup(init.PID); err != nil || !now.Same(init) || now.Zombie {
			return
		}
		time.Sleep(pause)
	}
}

// errLost is about what was below a supervisor that was killed with its proxy.
var errLost = fmt.Errorf("%w, or may be: its supervisor and its proxy were killed, so nobody knows", registry.ErrLeft)

// PID implements [registry.Process].
func (t *tree) PID() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leader
}

// Done implements [registry.Process].
func (t *tree) Done() <-chan struct{} { return t.done }

func (t *tree) send(op supervisor.Op, arg uint32) error {
	m := supervisor.Message{Op: op, A: arg}
	_, err := t.h.channel.Write(unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize))
	if err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// Signal implements [registry.Process]. The supervisor delivers it: the leader
// is its child, whose PID cannot be reused behind its back.
func (t *tree) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return t.h.owner.error("signal", fmt.Errorf("%w: %v is no signal of this system", errors.ErrUnsupported, sig))
	}
	t.mu.Lock()
	over := t.exited || !t.begun
	t.mu.Unlock()
	if over {
		return os.ErrProcessDone
	}
	return t.send(supervisor.OpSignal, uint32(s))
}

// Kill implements [registry.Process].
func (t *tree) Kill() error {
	select {
	case <-t.done:
		return os.ErrProcessDone
	default:
	}
	t.mu.Lock()
	begun, leader := t.begun, t.leader
	t.mu.Unlock()
	if !begun { // wrapped, and not known to have been started: there will be nothing
		t.wrapped.end(registry.ErrClosed)
		return nil
	}
	if leader == 0 { // if it is being started: the owner's end is an order that is always heard
		conn, err := t.h.channel.SyscallConn()
		if err == nil {
			shutdownWrite(conn)
		}
		return nil
	}
	return t.send(supervisor.OpKill, 0)
}

// members returns what is alive below the supervisor.
func (t *tree) members() ([]proctree.Process, error) {
	t.mu.Lock()
	s := t.supervisor
	t.mu.Unlock()
	if now, err := proctree.Lookup(s.PID); s.PID == 0 || err != nil || !now.Same(s) {
		return nil, nil
	}
	ps, err := proctree.Descendants(s.PID)
	if errors.Is(err, os.ErrProcessDone) {
		return nil, nil
	}
	return proctree.Alive(ps), err
}

// Members implements [registry.Process].
func (t *tree) Members() ([]registry.Member, error) {
	t.mu.Lock()
	lost := t.lost
	t.mu.Unlock()
	if lost {
		return nil, errLost
	}
	ps, err := t.members()
	ms := make([]registry.Member, len(ps))
	for i, p := range ps {
		ms[i] = registry.Member{PID: p.PID, Name: p.Name}
	}
	return ms, err
}

// Terminate implements [registry.Process]: SIGTERM to every member.
func (t *tree) Terminate() error {
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	if !begun {
		return nil
	}
	if t.asksOnce && t.asked.Swap(true) {
		return nil
	}
	_ = t.send(supervisor.OpEndAsked, 0) // or it has ended, and nobody is left
	ps, err := t.members()
	for _, p := range ps {
		if e := proctree.Signal(p, syscall.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = errors.Join(err, e)
		}
	}
	return err
}
