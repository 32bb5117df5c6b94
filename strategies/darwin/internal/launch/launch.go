//go:build linux || darwin

// Package launch is the part of the strategy darwin/kqueue that is the same on every
// Unix: the owner's half of starting backends below supervisors.
package launch

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
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// startDeadline is how long an executable that is started as a supervisor may take to
// show that it is one, and then to start the command. A loaded host takes long for both,
// and an executable that is none ends, or is to be told from one by a person.
const startDeadline = 30 * time.Second

// Install does what registry.Strategy says. It changes nothing about this process.
// name is the strategy's, for errors.
func Install(ctx context.Context, table xnu.Table, name string, opts registry.InstallOptions) (registry.Installation, error) {
	i := &installation{name: name, table: table, executable: opts.Supervisor}
	err := ctx.Err()
	if err == nil {
		i.owner, err = table.Lookup(os.Getpid())
	}
	if err == nil && i.executable == "" {
		i.executable, err = ownExecutable()
	}
	if err != nil {
		return nil, i.failed("install", err)
	}
	return i, nil
}

func (i *installation) failed(op string, err error) error {
	return &registry.Error{Op: op, Strategy: i.name, Err: err}
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
	name       string
	table      xnu.Table
	executable string
	owner      xnu.Process
	backends   backends.Set
}

func (*installation) Cleanup() registry.Cleanup {
	return registry.CleanupMacOSKqueueSupervisorContract
}

func (i *installation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := i.backends.Begin("start "+cmd.Path, i.name); err != nil {
		return nil, err
	}
	defer i.backends.End()
	if err := opts.RefuseBreakaway("every backend is a child of a supervisor that ends it"); err != nil {
		return nil, i.failed("start "+cmd.Path, err)
	}
	if err := opts.RefuseTerm("its supervisor ends what is left by force only"); err != nil {
		return nil, i.failed("start "+cmd.Path, err)
	}
	order, err := i.orderFor(cmd, opts)
	if err != nil {
		return nil, registry.Refuse(cmd, err)
	}
	b, err := i.launch(cmd, order)
	if err != nil {
		return nil, err
	}
	i.backends.Add(b)
	go func() {
		b.follow()
		i.backends.Remove(b)
	}()
	return b, nil
}

// Close implements [registry.Installation].
func (i *installation) Close(ctx context.Context) error { return i.backends.Close(ctx, i.name) }

// orderFor describes cmd to the supervisor, or says what cannot be passed.
// Errors that os/exec would have returned are returned as they are.
func (i *installation) orderFor(cmd *exec.Cmd, opts registry.StartOptions) (*entry.Order, error) {
	if err := executable(cmd); err != nil {
		return nil, err
	}
	contract := registry.BrokerContract()
	o := &entry.Order{OwnerPID: i.owner.PID, OwnerUnique: i.owner.Unique, Home: unix.Getpgrp(), Spec: supervisor.Spec{
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
		return nil, i.failed("start "+cmd.Path, err)
	}
	return o, nil
}

// executable returns the error of exec.Cmd.Start for a program that is missing. What is
// found missing later has already taken from cmd.Stdin.
func executable(cmd *exec.Cmd) error {
	if cmd.SysProcAttr != nil || cmd.Dir != "" { // only the leader can tell
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
		return i.failed("start "+order.Spec.Path, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
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
	b := &backend{in: i, channel: channel, done: make(chan struct{}), exited: make(chan struct{}), lists: make(chan list, 1)}
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

// startProxy starts cmd with another program in it. The proxy leads a process group,
// so that signals of the service's group and terminal are the leader's, who is in
// that one.
func (i *installation) startProxy(cmd *exec.Cmd, channel *os.File) error {
	extra := cmd.ExtraFiles
	cmd.Path, cmd.Args, cmd.Dir = i.executable, []string{i.table.Argv0()}, ""
	cmd.Env = entry.Environ(3 + len(extra))
	cmd.ExtraFiles = append(append(make([]*os.File, 0, len(extra)+1), extra...), channel)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}

// backend is a started command below its supervisor.
type backend struct {
	in      *installation
	channel *os.File
	leader  int
	exited  chan struct{} // the leader
	done    chan struct{}

	asking sync.Mutex // for the list of members, one at a time
	lists  chan list
}

// list is who the supervisor knows to be in the tree.
type list struct {
	pids []int
	err  error
}

// shake tells the supervisor what to start and waits until it has. A command
// that cannot be started gives an *os.PathError, as os/exec does.
func (b *backend) shake(order *entry.Order) error {
	defer b.channel.SetDeadline(time.Time{})
	_ = b.channel.SetDeadline(time.Now().Add(startDeadline))
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
		return fmt.Errorf("it ended, or did not report in time; either something killed it, or the executable is not a contain supervisor (%w)", err)
	}
	switch m.Op {
	case supervisor.OpStarted:
		b.leader = int(m.A)
		return nil
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
	var members list
	for {
		m, err := entry.ReadMessage(b.channel)
		switch {
		case err != nil, m.Op == supervisor.OpEmpty:
			return
		case m.Op == supervisor.OpLeader:
			gone()
		case m.Op == entry.OpMember:
			members.pids = append(members.pids, int(m.A))
		case m.Op == entry.OpMembersEnd:
			if m.A != 0 {
				members.err = syscall.Errno(m.A)
			}
			b.lists <- members // somebody waits: one list is asked for at a time
			members = list{}
		}
	}
}

func (b *backend) PID() int { return b.leader }

func (b *backend) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return b.in.failed("signal", fmt.Errorf("%w: signal %v", errors.ErrUnsupported, sig))
	}
	select {
	case <-b.exited:
		return os.ErrProcessDone
	default:
		return b.tell(supervisor.Message{Op: supervisor.OpSignal, A: uint32(s)})
	}
}

// Terminate has the supervisor send SIGTERM to every member.
func (b *backend) Terminate() error {
	return b.tell(supervisor.Message{Op: entry.OpTerminate, A: uint32(syscall.SIGTERM)})
}

func (b *backend) Kill() error { return b.tell(supervisor.Message{Op: supervisor.OpKill}) }

func (b *backend) tell(m supervisor.Message) error {
	if err := entry.WriteMessage(b.channel, m); err != nil {
		select {
		case <-b.done:
			return os.ErrProcessDone
		default:
			return b.in.failed("tell the supervisor", err)
		}
	}
	return nil
}

// Members asks the supervisor, who alone knows the daemons that have lost their parents.
func (b *backend) Members() ([]registry.Member, error) {
	b.asking.Lock()
	defer b.asking.Unlock()
	err := b.tell(supervisor.Message{Op: entry.OpMembers})
	if errors.Is(err, os.ErrProcessDone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found list
	select {
	case found = <-b.lists:
	case <-b.done:
		return nil, nil
	}
	if found.err != nil {
		return nil, b.in.failed("list the members", found.err)
	}
	var members []registry.Member
	for _, pid := range found.pids {
		p, err := b.in.table.Lookup(pid)
		if err == nil && !p.Zombie {
			members = append(members, registry.Member{PID: pid, Name: p.Name})
		}
	}
	return members, nil
}

func (b *backend) Done() <-chan struct{} { return b.done }
