package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

const (
	// barrierDeadline is how long an executable that is started as a supervisor
	// for the first time has to show that it is one.
	barrierDeadline = 2 * time.Second
	// startDeadline is how long a supervisor that has shown so may take under load.
	startDeadline = 30 * time.Second
)

// Install implements [registry.Strategy].
func (s subreaper) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	i, err := newSubreaperInstallation(opts)
	if err == nil {
		err = i.probe(ctx)
	}
	if err == nil {
		i.cleanup, err = bind(SubreaperName, opts)
	}
	if err != nil {
		return nil, subreaperError("install", err)
	}
	return i, nil
}

// Probe implements [registry.Prober]: it starts a supervisor that has nothing
// to supervise.
func (s subreaper) Probe(ctx context.Context) error {
	i, err := newSubreaperInstallation(registry.InstallOptions{})
	if err == nil {
		err = i.probe(ctx)
	}
	return subreaperError("probe", err)
}

// subreaperError wraps err unless it is wrapped already.
func subreaperError(op string, err error) error {
	var own *registry.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &registry.Error{Op: op, Strategy: SubreaperName, Err: err}
}

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

type subreaperInstallation struct {
	cleanup    registry.Cleanup
	executable string
	backends   backends
}

// newSubreaperInstallation finds the executable that serves as the supervisor.
func newSubreaperInstallation(opts registry.InstallOptions) (*subreaperInstallation, error) {
	if opts.Supervisor != "" {
		return &subreaperInstallation{executable: opts.Supervisor}, nil
	}
	if mode := buildMode(); mode != "" {
		return nil, fmt.Errorf("%w: this is a %s build inside another program, which cannot be started again as a supervisor; set Supervisor to an installed contain command", errors.ErrUnsupported, mode)
	}
	// Not os.Executable: the file at that path may have been replaced since.
	return &subreaperInstallation{executable: "/proc/self/exe"}, nil
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

func (i *subreaperInstallation) Cleanup() registry.Cleanup { return i.cleanup }

func (i *subreaperInstallation) Close(ctx context.Context) error {
	return i.backends.close(ctx, SubreaperName)
}

// probe starts a supervisor without a backend: once for each executable.
func (i *subreaperInstallation) probe(ctx context.Context) error {
	if _, done := probed.Load(i.executable); done {
		return ctx.Err()
	}
	spec := newSpec()
	spec.Probe, spec.Files = true, 3
	ctx, cancel := context.WithTimeout(ctx, barrierDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, i.executable)
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return err
	}
	defer h.close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w: start %s: %w", errors.ErrUnsupported, registry.ErrSupervisor, i.executable, err)
	}
	_, err = h.shake(barrierDeadline)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	probed.Store(i.executable, true)
	return nil
}

var probed sync.Map // of executables

func (i *subreaperInstallation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := startable(cmd); err != nil {
		return nil, err
	}
	if err := i.backends.begin("start "+cmd.Path, SubreaperName); err != nil {
		return nil, err
	}
	defer i.backends.end()
	spec, err := specFor(cmd, opts)
	if err != nil {
		return nil, attributeError(cmd.Path, err)
	}
	before := *cmd
	h, err := i.rewrite(cmd, spec)
	if err == nil {
		err = h.start(cmd)
		restore(cmd, &before)
	}
	if err != nil {
		return nil, err
	}
	m, err := h.shake(startDeadline)
	if err != nil {
		_ = cmd.Process.Kill()
		abandon(cmd)
		h.close()
		return nil, err
	}
	t := newTree(h, cmd, &i.backends)
	t.started(m)
	go t.follow()
	return t, nil
}

// Wrap implements [registry.Wrapper]. A path that turns out not to be
// executable only after the start makes the command exit with 127.
func (i *subreaperInstallation) Wrap(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := startable(cmd); err != nil {
		return nil, err
	}
	if err := i.backends.begin("wrap "+cmd.Path, SubreaperName); err != nil {
		return nil, err
	}
	defer i.backends.end()
	spec, err := specFor(cmd, opts)
	if err != nil {
		return nil, attributeError(cmd.Path, err)
	}
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return nil, err
	}
	t := newTree(h, cmd, &i.backends)
	go t.followWrapped()
	return t, nil
}

// attributeError names the strategy in an error about what cannot be passed,
// and leaves those that os/exec would have returned as they are.
func attributeError(path string, err error) error {
	if errors.Is(err, registry.ErrNotPassed) {
		return subreaperError("start "+path, err)
	}
	return err
}

// handshake is the owner's side of a supervisor that is being started.
type handshake struct {
	path    string
	channel *os.File // to the supervisor
	theirs  *os.File // its end of that
	also    []*os.File
	spec    []byte
	proxy   int // its PID, once it has said hello
}

// rewrite makes cmd start the supervisor, and the supervisor what cmd was.
func (i *subreaperInstallation) rewrite(cmd *exec.Cmd, spec *supervisor.Spec) (*handshake, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, subreaperError("start "+cmd.Path, fmt.Errorf("%w: %w", registry.ErrSupervisor, os.NewSyscallError("socketpair", err)))
	}
	// Non-blocking on this side only: os/exec passes theirs as it is.
	_ = unix.SetNonblock(fds[0], true)
	h := &handshake{
		path:    cmd.Path,
		channel: os.NewFile(uintptr(fds[0]), "supervisor"),
		theirs:  os.NewFile(uintptr(fds[1]), "owner"),
	}
	extra := append(make([]*os.File, 0, len(cmd.ExtraFiles)+3), cmd.ExtraFiles...)
	pass := func(f *os.File) int {
		extra = append(extra, f)
		return 2 + len(extra)
	}
	number := pass(h.theirs)
	if f := ownPidfd(); f != nil {
		spec.OwnerFD = pass(f)
	}
	if a := cmd.SysProcAttr; a != nil && a.Foreground {
		fd, err := unix.FcntlInt(uintptr(a.Ctty), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			h.close()
			return nil, execError(cmd.Path, err)
		}
		tty := os.NewFile(uintptr(fd), "terminal")
		h.also = append(h.also, tty)
		spec.Attr.ForegroundFD = pass(tty)
	}
	h.spec = binary.NativeEndian.AppendUint32(nil, 0)
	h.spec = spec.Append(h.spec)
	binary.NativeEndian.PutUint32(h.spec, uint32(len(h.spec)-4))

	cmd.Path, cmd.Args, cmd.Dir = i.executable, []string{supervisor.Argv0}, ""
	cmd.Env = []string{supervisor.FDEnv + "=" + strconv.Itoa(number)}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok { // a program linked dynamically may need it to start
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v)
	}
	cmd.ExtraFiles = extra
	cmd.SysProcAttr = proxyAttr(cmd.SysProcAttr)
	return h, nil
}

// restore gives cmd back what rewrite took.
func restore(cmd, before *exec.Cmd) {
	cmd.Path, cmd.Args, cmd.Dir, cmd.Env = before.Path, before.Args, before.Dir, before.Env
	cmd.ExtraFiles, cmd.SysProcAttr = before.ExtraFiles, before.SysProcAttr
}

// start starts the proxy.
func (h *handshake) start(cmd *exec.Cmd) error {
	err := cmd.Start()
	if err == nil {
		return nil
	}
	h.close()
	var pe *os.PathError
	if errors.As(err, &pe) && pe.Path == cmd.Path {
		return subreaperError("start "+h.path, fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, pe.Path, pe.Err))
	}
	return err // os/exec's own, such as a context that is done
}

// shake tells the supervisor about the backend and waits until the backend has
// exec'd, or for a probe, until everything is in place. By then the owner is
// watched.
func (h *handshake) shake(limit time.Duration) (supervisor.Message, error) {
	h.dropTheirs()
	_ = h.channel.SetDeadline(time.Now().Add(limit))
	defer h.channel.SetDeadline(time.Time{})
	var none supervisor.Message
	fail := func(err error) error {
		return subreaperError("start "+h.path, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
	}
	if _, err := h.channel.Write(h.spec); err != nil {
		return none, fail(fmt.Errorf("tell the supervisor what to start: %w", err))
	}
	for {
		m, err := readMessage(h.channel)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				err = fmt.Errorf("it ended before the backend was started; was it killed, or is the executable no contain supervisor? (%w)", io.ErrUnexpectedEOF)
			}
			return none, fail(err)
		}
		switch m.Op {
		case supervisor.OpHello:
			h.proxy = int(m.B)
			if m.A != supervisor.Version {
				return none, fail(fmt.Errorf("it speaks version %d of the protocol, this program speaks %d; install the same version of contain", m.A, supervisor.Version))
			}
		case supervisor.OpRefused:
			return none, fail(fmt.Errorf("it refused: %s: %w", refusals[supervisor.Refusal(m.A)], syscall.Errno(m.B)))
		case supervisor.OpFailed:
			step, errno := supervisor.Step(m.A), syscall.Errno(m.B)
			if step > supervisor.StepGuard { // what os/exec would have met, too
				return none, execError(h.path, errno)
			}
			return none, fail(fmt.Errorf("%s: %w", step, errno))
		case supervisor.OpReady, supervisor.OpStarted:
			return m, nil
		}
	}
}

var refusals = map[supervisor.Refusal]string{
	supervisor.RefusedSecure: "the executable is setuid, setgid or has file capabilities",
	supervisor.RefusedPeer:   "the credentials of owner and supervisor differ",
	supervisor.RefusedSpec:   "the description of the backend could not be read",
	supervisor.RefusedSetup:  "the supervisor could not be forked",
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

// abandon collects a process that was started and will not be used, and leaves
// cmd as a failed exec.Cmd.Start does. A reader that feeds its standard input
// may still be blocked; it is not waited for.
func abandon(cmd *exec.Cmd) {
	delay := cmd.WaitDelay
	cmd.WaitDelay = time.Millisecond
	_ = cmd.Wait()
	cmd.WaitDelay = delay
	cmd.Process, cmd.ProcessState = nil, nil
}

// tree is a backend below its supervisor.
type tree struct {
	h        *handshake
	cmd      *exec.Cmd
	backends *backends
	done     chan struct{}

	mu         sync.Mutex
	leader     int
	supervisor proctree.Process
	exited     bool // the leader
	lost       bool // proxy and supervisor ended without a report
}

func newTree(h *handshake, cmd *exec.Cmd, b *backends) *tree {
	t := &tree{h: h, cmd: cmd, backends: b, done: make(chan struct{})}
	b.add(t)
	return t
}

func (t *tree) started(m supervisor.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leader = int(m.A)
	// The supervisor may have gone already, and its PID may be another's: then
	// nobody is below it.
	if s, err := proctree.Lookup(int(m.B)); err == nil && s.PPID == t.h.proxy && s.Name == supervisor.Argv0[:15] {
		t.supervisor = s
	}
}

// follow reads what the supervisor reports until it has nothing left to report.
func (t *tree) follow() {
	defer close(t.done)
	defer t.backends.remove(t)
	defer t.h.channel.Close()
	for {
		m, err := readMessage(t.h.channel)
		if err != nil {
			t.mu.Lock()
			t.exited, t.lost = true, true
			t.mu.Unlock()
			return
		}
		switch m.Op {
		case supervisor.OpLeader:
			t.mu.Lock()
			t.exited = true
			t.mu.Unlock()
		case supervisor.OpEmpty:
			return
		}
	}
}

// followWrapped waits for a start that somebody else makes.
func (t *tree) followWrapped() {
	if _, err := t.h.channel.Write(t.h.spec); err == nil {
		for {
			m, err := readMessage(t.h.channel)
			if err != nil || m.Op == supervisor.OpFailed || m.Op == supervisor.OpRefused {
				break
			}
			t.h.dropTheirs() // the proxy has its own copy by now
			if m.Op == supervisor.OpHello {
				t.h.proxy = int(m.B)
			}
			if m.Op == supervisor.OpStarted {
				t.started(m)
				break
			}
		}
	}
	t.follow()
}

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
		return subreaperError("signal", fmt.Errorf("%w: %v is no signal of this system", errors.ErrUnsupported, sig))
	}
	t.mu.Lock()
	exited := t.exited
	t.mu.Unlock()
	if exited {
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
	if t.PID() == 0 { // wrapped and not started: there is nothing, and will be nothing
		t.h.close()
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
	ps, err := t.members()
	ms := make([]registry.Member, len(ps))
	for i, p := range ps {
		ms[i] = registry.Member{PID: p.PID, Name: p.Name}
	}
	return ms, err
}

// Terminate implements [registry.Process]: SIGTERM to every member.
func (t *tree) Terminate() error {
	ps, err := t.members()
	for _, p := range ps {
		if e := proctree.Signal(p, syscall.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = errors.Join(err, e)
		}
	}
	return err
}
