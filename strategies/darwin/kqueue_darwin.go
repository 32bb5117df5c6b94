package darwin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

const (
	// barrierDeadline is how long an executable that is started as a supervisor
	// has to show that it is one.
	barrierDeadline = 2 * time.Second
	// startDeadline is how long a supervisor that has shown so may take under load.
	startDeadline = 30 * time.Second
)

// Install implements [registry.Strategy]. It changes nothing about this process.
func (kqueue) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	i := &installation{executable: opts.Supervisor, live: make(map[*backend]struct{})}
	err := ctx.Err()
	if err == nil {
		i.owner, err = proctree.Lookup(os.Getpid())
	}
	if err == nil && i.executable == "" {
		i.executable, err = ownExecutable()
	}
	if err != nil {
		return nil, failed("install", err)
	}
	return i, nil
}

// Probe implements [registry.Prober].
func (k kqueue) Probe(ctx context.Context) error {
	_, err := k.Install(ctx, registry.InstallOptions{})
	return err
}

func failed(op string, err error) error {
	return &registry.Error{Op: op, Strategy: KqueueName, Err: err}
}

func ownExecutable() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-buildmode" && s.Value != "exe" && s.Value != "pie" {
				return "", fmt.Errorf("%w: this is a %s build inside another program, which cannot be started again as a supervisor; set Supervisor to an installed contain command", errors.ErrUnsupported, s.Value)
			}
		}
	}
	return os.Executable()
}

type installation struct {
	executable string
	owner      proctree.Process

	mu     sync.Mutex
	closed bool
	starts sync.WaitGroup // those under way
	live   map[*backend]struct{}
}

func (*installation) Cleanup() registry.Cleanup {
	return registry.CleanupMacOSKqueueSupervisorContract
}

func (i *installation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if !i.begin() {
		return nil, failed("start "+cmd.Path, registry.ErrClosed)
	}
	defer i.starts.Done()
	if err := opts.RefuseBreakaway("every backend is a child of a supervisor that ends it"); err != nil {
		return nil, failed("start "+cmd.Path, err)
	}
	order, err := i.orderFor(cmd, opts)
	if err != nil {
		return nil, err
	}
	b, err := i.launch(cmd, order)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live[b] = struct{}{}
	go i.follow(b)
	return b, nil
}

// begin admits a start. i.starts.Done must follow.
func (i *installation) begin() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.starts.Add(1)
	}
	return !i.closed
}

func (i *installation) follow(b *backend) {
	b.follow()
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.live, b)
}

// Close implements [registry.Installation].
func (i *installation) Close(ctx context.Context) error {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.starts.Wait()
	i.mu.Lock()
	var left []*backend
	for b := range i.live {
		left = append(left, b)
	}
	i.mu.Unlock()
	for _, b := range left {
		_ = b.Kill() // an error means that it is gone, which the wait below shows
	}
	for _, b := range left {
		select {
		case <-b.done:
		case <-ctx.Done():
			members, _ := b.Members()
			return failed("close", fmt.Errorf("backend %d still has processes %v: %w", b.leader, members, ctx.Err()))
		}
	}
	return nil
}

// orderFor describes cmd to the supervisor, or says what cannot be passed.
// Errors that os/exec would have returned are returned as they are.
func (i *installation) orderFor(cmd *exec.Cmd, opts registry.StartOptions) (*entry.Order, error) {
	if err := startable(cmd); err != nil {
		return nil, err
	}
	contract := registry.BrokerContract()
	o := &entry.Order{OwnerPID: i.owner.PID, OwnerStart: i.owner.Start, Home: unix.Getpgrp(), Spec: supervisor.Spec{
		Path:         cmd.Path,
		Args:         cmd.Args,
		Env:          cmd.Environ(),
		Dir:          cmd.Dir,
		Files:        3 + len(cmd.ExtraFiles),
		OnLeaderExit: supervisor.LeaderExit(opts.OnLeaderExit),
		KillDeadline: contract.KillDeadline,
		KillSignal:   int(contract.Signal),
		OwnerFD:      -1,
	}}
	if len(cmd.Args) == 0 {
		o.Spec.Args = []string{cmd.Path}
	}
	for s := syscall.Signal(1); s < 32; s++ {
		if signal.Ignored(s) {
			o.Spec.Ignored |= 1 << (s - 1)
		}
	}
	if err := passAttr(&o.Spec.Attr, cmd); err != nil {
		return nil, failed("start "+cmd.Path, err)
	}
	return o, nil
}

// startable returns the errors that exec.Cmd.Start would return at once. What
// is found missing later has already taken from cmd.Stdin.
func startable(cmd *exec.Cmd) error {
	switch {
	case cmd.Err != nil:
		return cmd.Err
	case cmd.Process != nil:
		return errors.New("exec: already started")
	case cmd.Path == "":
		return errors.New("exec: no command")
	case cmd.SysProcAttr != nil || cmd.Dir != "": // only the leader can tell
		return nil
	}
	if err := unix.Access(cmd.Path, unix.X_OK); err != nil {
		return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
	}
	return nil
}

// passAttr translates cmd.SysProcAttr.
func passAttr(to *supervisor.Attr, cmd *exec.Cmd) error {
	refused := func(what, why string) error {
		return fmt.Errorf("%w: %s: %s", registry.ErrNotPassed, what, why)
	}
	for n, f := range cmd.ExtraFiles {
		if f == nil {
			return refused(fmt.Sprintf("ExtraFiles[%d]", n), "it is nil; pass os.DevNull")
		}
	}
	a := cmd.SysProcAttr
	if a == nil {
		return nil
	}
	switch {
	case a.Ptrace:
		return refused("SysProcAttr.Ptrace", "the tracer would be the supervisor; trace the leader's PID instead")
	case a.Foreground:
		return refused("SysProcAttr.Foreground", "the supervisor is not in the terminal's session; call tcsetpgrp after Start")
	}
	to.Chroot = a.Chroot
	if c := a.Credential; c != nil {
		to.Credential, to.UID, to.GID, to.Groups, to.NoSetGroups = true, c.Uid, c.Gid, c.Groups, c.NoSetGroups
	}
	to.Setsid, to.Setpgid, to.Pgid = a.Setsid, a.Setpgid, a.Pgid
	to.Setctty, to.Noctty, to.Ctty = a.Setctty, a.Noctty, a.Ctty
	return nil
}

// launch starts the proxy in cmd's place and returns when the leader has
// exec'd. By then the owner is watched.
func (i *installation) launch(cmd *exec.Cmd, order *entry.Order) (*backend, error) {
	fail := func(err error) error {
		return failed("start "+cmd.Path, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
	}
	channel, theirs, err := entry.NewChannel()
	if err != nil {
		return nil, fail(err)
	}
	err = i.startProxy(cmd, theirs)
	theirs.Close()
	if err != nil {
		channel.Close()
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = fail(fmt.Errorf("start %s: %w", i.executable, err))
		}
		return nil, err
	}
	b := &backend{channel: channel, done: make(chan struct{}), exited: make(chan struct{})}
	if err := b.shake(order); err != nil {
		_ = cmd.Process.Kill()
		_ = channel.Close()
		abandon(cmd)
		var pe *os.PathError
		if !errors.As(err, &pe) {
			err = fail(err)
		}
		return nil, err
	}
	return b, nil
}

// abandon collects a process that will not be used, and leaves cmd as a failed
// exec.Cmd.Start does. A reader that feeds its standard input may still be
// blocked; it is not waited for.
func abandon(cmd *exec.Cmd) {
	delay := cmd.WaitDelay
	cmd.WaitDelay = time.Millisecond
	_ = cmd.Wait()
	cmd.WaitDelay = delay
	cmd.Process, cmd.ProcessState = nil, nil
}

// startProxy starts cmd with another program in it, and gives cmd back what it
// took. The proxy leads a process group, so that signals of the service's group
// and terminal are the leader's, who is in that one.
func (i *installation) startProxy(cmd *exec.Cmd, channel *os.File) error {
	path, args, env, dir, extra, attr := cmd.Path, cmd.Args, cmd.Env, cmd.Dir, cmd.ExtraFiles, cmd.SysProcAttr
	defer func() {
		cmd.Path, cmd.Args, cmd.Env, cmd.Dir, cmd.ExtraFiles, cmd.SysProcAttr = path, args, env, dir, extra, attr
	}()
	cmd.Path, cmd.Args, cmd.Dir = i.executable, []string{supervisor.Argv0}, ""
	cmd.Env = entry.Environ(3 + len(extra))
	cmd.ExtraFiles = append(append(make([]*os.File, 0, len(extra)+1), extra...), channel)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// backend is a started command below its supervisor.
type backend struct {
	channel *os.File
	leader  int
	keeper  proctree.Process // the supervisor
	exited  chan struct{}    // the leader
	done    chan struct{}
}

// shake tells the supervisor what to start and waits until it has. A command
// that cannot be started gives an *os.PathError, as os/exec does.
func (b *backend) shake(order *entry.Order) error {
	defer b.channel.SetDeadline(time.Time{})
	_ = b.channel.SetDeadline(time.Now().Add(barrierDeadline))
	m, err := entry.ReadMessage(b.channel)
	if err == nil && m.Op == supervisor.OpHello && m.A != supervisor.Version {
		err = fmt.Errorf("it speaks version %d of the protocol, this program speaks %d; install the same version of contain", m.A, supervisor.Version)
	}
	_ = b.channel.SetDeadline(time.Now().Add(startDeadline))
	if err == nil && m.Op == supervisor.OpHello {
		if _, err = b.channel.Write(order.Append(nil)); err == nil {
			m, err = entry.ReadMessage(b.channel)
		}
	}
	if err != nil {
		return fmt.Errorf("it did not report in time, or ended; was it killed, or is the executable no contain supervisor? (%w)", err)
	}
	switch m.Op {
	case supervisor.OpStarted:
		b.leader = int(m.A)
		b.keeper, err = proctree.Lookup(int(m.B))
		if errors.Is(err, os.ErrProcessDone) { // all over already
			err = nil
		}
		return err
	case supervisor.OpFailed:
		return &os.PathError{Op: "fork/exec", Path: order.Spec.Path, Err: syscall.Errno(m.B)}
	default:
		return fmt.Errorf("it refused: %w", syscall.Errno(m.B))
	}
}

// follow reads what the supervisor reports until it has nothing left to report.
func (b *backend) follow() {
	defer close(b.done)
	defer b.channel.Close()
	gone := sync.OnceFunc(func() { close(b.exited) })
	defer gone()
	for {
		m, err := entry.ReadMessage(b.channel)
		switch {
		case err != nil, m.Op == supervisor.OpEmpty:
			return
		case m.Op == supervisor.OpLeader:
			gone()
		}
	}
}

func (b *backend) PID() int { return b.leader }

func (b *backend) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return failed("signal", fmt.Errorf("%w: signal %v", errors.ErrUnsupported, sig))
	}
	select {
	case <-b.exited:
		return os.ErrProcessDone
	default:
		return b.tell(supervisor.Message{Op: supervisor.OpSignal, A: uint32(s)})
	}
}

// Terminate sends SIGTERM to every member that is found.
func (b *backend) Terminate() error {
	_ = b.tell(supervisor.Message{Op: supervisor.OpEndAsked})
	found, err := b.below()
	for _, p := range found {
		if e := proctree.Signal(p, syscall.SIGTERM); e != nil && !errors.Is(e, os.ErrProcessDone) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (b *backend) Kill() error { return b.tell(supervisor.Message{Op: supervisor.OpKill}) }

func (b *backend) tell(m supervisor.Message) error {
	if err := entry.WriteMessage(b.channel, m); err != nil {
		select {
		case <-b.done:
			return os.ErrProcessDone
		default:
			return failed("tell the supervisor", err)
		}
	}
	return nil
}

func (b *backend) Members() ([]registry.Member, error) {
	found, err := b.below()
	var members []registry.Member
	for _, p := range found {
		members = append(members, registry.Member{PID: p.PID, Name: p.Name})
	}
	return members, err
}

// below returns who descends from the supervisor now; daemons that have lost
// their parents are known to the supervisor only.
func (b *backend) below() ([]proctree.Process, error) {
	select {
	case <-b.done:
		return nil, nil
	default:
	}
	now, err := proctree.Lookup(b.keeper.PID)
	if errors.Is(err, os.ErrProcessDone) || err == nil && !now.Same(b.keeper) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := proctree.Descendants(b.keeper.PID)
	return proctree.Alive(found), err
}

func (b *backend) Done() <-chan struct{} { return b.done }
