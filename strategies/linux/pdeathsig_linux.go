package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/exitwatch"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// Install implements [registry.Strategy].
func (pdeathsig) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	if err := ctx.Err(); err != nil {
		return nil, &registry.Error{Op: "install", Strategy: PdeathsigName, Err: err}
	}
	if err := (pdeathsig{}).Probe(ctx); err != nil {
		return nil, err
	}
	i := new(pdeathsigInstallation)
	var err error
	if i.cleanup, err = bind(PdeathsigName, opts, &i.backends); err != nil {
		return nil, err
	}
	return i, nil
}

// Probe implements [registry.Prober]: the signal is a part of every Linux, and
// Start compares threads by /proc.
func (pdeathsig) Probe(ctx context.Context) error {
	var l links
	if err := l.read(0); err != nil {
		return &registry.Error{Op: "probe", Strategy: PdeathsigName, Err: fmt.Errorf("%w: %w", errors.ErrUnsupported, err)}
	}
	return ctx.Err()
}

type pdeathsigInstallation struct {
	cleanup  registry.Cleanup
	backends backends.Set
}

func (i *pdeathsigInstallation) Cleanup() registry.Cleanup { return i.cleanup }

func (i *pdeathsigInstallation) Close(ctx context.Context) error {
	return i.backends.Close(ctx, PdeathsigName)
}

func (i *pdeathsigInstallation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := i.backends.Begin("start "+cmd.Path, PdeathsigName); err != nil {
		return nil, err
	}
	defer i.backends.End()
	fail := func(err error) error {
		return &registry.Error{Op: "start " + cmd.Path, Strategy: PdeathsigName, Err: err}
	}
	err := opts.RefuseBreakaway("every backend has a parent-death signal")
	if err == nil {
		err = opts.RefuseTerm("it reaches the leader only, and knows nothing of what that leaves; name linux/subreaper")
	}
	if err == nil {
		err = pdeathsigIsOurs(cmd.SysProcAttr)
	}
	if a := cmd.SysProcAttr; err == nil && a != nil && !a.UseCgroupFD && a.PidFD == nil { // with these package syscall uses clone3
		err = fitsClone(a)
	}
	if err != nil {
		return nil, registry.Refuse(cmd, fail(err))
	}
	if err := dirThere(cmd); err != nil {
		return nil, registry.Refuse(cmd, err)
	}
	cmd.SysProcAttr = boundAttr(cmd)
	differs := onThreadAs(func() { err = cmd.Start() })
	if differs != nil {
		return nil, fail(fmt.Errorf("%w: %w", registry.ErrNotPassed, differs))
	}
	if err != nil {
		return nil, err
	}
	exited, err := exitwatch.Watch(cmd.Process)
	if err != nil {
		_ = cmd.Process.Kill()
		abandon(cmd)
		return nil, fail(err)
	}
	p := &child{process: cmd.Process, done: make(chan struct{})}
	i.backends.Add(p)
	go func() {
		<-exited
		close(p.done)
		i.backends.Remove(p)
	}()
	return p, nil
}

// boundAttr returns the attributes of cmd with a parent-death signal.
func boundAttr(cmd *exec.Cmd) *syscall.SysProcAttr {
	bound := new(syscall.SysProcAttr)
	if cmd.SysProcAttr != nil {
		*bound = *cmd.SysProcAttr
	}
	bound.Pdeathsig = syscall.SIGKILL
	return bound
}

// pdeathsigIsOurs refuses a parent-death signal that would replace SIGKILL.
func pdeathsigIsOurs(a *syscall.SysProcAttr) error {
	if a != nil && a.Pdeathsig != 0 && a.Pdeathsig != syscall.SIGKILL {
		return fmt.Errorf("%w: SysProcAttr.Pdeathsig is %v; a backend's parent-death signal is SIGKILL here, leave it 0", registry.ErrNotPassed, a.Pdeathsig)
	}
	return nil
}

// child is a backend of which only the leader is reached.
type child struct {
	process *os.Process
	done    chan struct{}
}

func (c *child) PID() int              { return c.process.Pid }
func (c *child) Terminate() error      { return c.Signal(syscall.SIGTERM) }
func (c *child) Kill() error           { return c.Signal(syscall.SIGKILL) }
func (c *child) Done() <-chan struct{} { return c.done }

// Pidfd implements [registry.PidfdOpener].
func (c *child) Pidfd() (*os.File, error) { return pidfdOf(c.process) }

// Signal looks at done first, because a zombie accepts signals.
func (c *child) Signal(sig os.Signal) error {
	select {
	case <-c.done:
		return os.ErrProcessDone
	default:
		return c.process.Signal(sig)
	}
}

func (c *child) Members() ([]registry.Member, error) {
	select {
	case <-c.done:
		return nil, nil
	default:
	}
	p, err := proctree.Lookup(c.PID())
	if err != nil || p.Zombie {
		return nil, nil // it has just gone
	}
	return []registry.Member{{PID: p.PID, Name: p.Name}}, nil
}
