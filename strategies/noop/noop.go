// Package noop is the strategy for platforms that have no other: it starts
// backends plainly and guarantees nothing.
//
// # Mechanism
//
// None. Start is [os/exec.Cmd.Start]; the leader's exit is noticed without
// taking its status from cmd.Wait.
//
// # Guarantees
//
// None. When the owner ends, however it ends, its backends live on.
//
// # Limits
//
// Signal, Terminate, Kill and Close reach the leader only. Done speaks of the
// leader only; on Unix systems other than Linux, macOS and the BSDs it is closed
// once the leader has been waited for. On Plan 9, Start fails.
//
// # Supported systems
//
// All. It is chosen only by name or where the best effort is asked for.
package noop

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/exitwatch"
	"github.com/seed329817d7/contain/strategies/internal/backends"
)

// Name is the name that the strategy is registered under.
const Name = "noop/noop"

func init() { registry.Default().MustRegister(New()) }

type strategy struct{}

// New returns the strategy.
func New() registry.Strategy { return strategy{} }

func (strategy) Describe() registry.Description {
	return registry.Description{
		Name:     Name,
		Platform: registry.PlatformAny,
		Summary:  "Starts backends plainly; nothing is guaranteed.",
		Target:   registry.CleanupUnsupportedNoop,
		Limits: []string{
			"When the owner ends, however it ends, its backends live on.",
			"When the leader exits, what it started lives on, whatever was asked for.",
			"Stopping a backend reaches its leader only.",
		},
	}
}

func (strategy) Target() registry.Cleanup { return registry.CleanupUnsupportedNoop }

func (strategy) Probe(ctx context.Context) error { return ctx.Err() }

func (strategy) Install(ctx context.Context, _ registry.InstallOptions) (registry.Installation, error) {
	if err := ctx.Err(); err != nil {
		return nil, &registry.Error{Op: "install", Strategy: Name, Err: err}
	}
	return new(installation), nil
}

type installation struct{ backends backends.Set }

func (*installation) Cleanup() registry.Cleanup { return registry.CleanupUnsupportedNoop }

func (i *installation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	op := "start " + cmd.Path
	if err := i.backends.Begin(op, Name); err != nil {
		return nil, err
	}
	defer i.backends.End()
	err := opts.RefuseBreakaway("Close ends every process that was started here")
	if err == nil {
		err = opts.RefuseTerm("nobody knows what the leader leaves")
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, &registry.Error{Op: op, Strategy: Name, Err: err}
	}
	exited, err := exitwatch.Watch(cmd.Process)
	if err != nil { // "if it fails, nothing runs"
		err = errors.Join(err, cmd.Process.Kill())
		_ = cmd.Wait()
		return nil, &registry.Error{Op: op, Strategy: Name, Err: err}
	}
	p := &process{leader: cmd.Process, name: filepath.Base(cmd.Path), exited: exited}
	i.backends.Add(p)
	go func() {
		<-p.exited
		i.backends.Remove(p)
	}()
	return p, nil
}

// Close kills the leaders that are still alive, and waits for them.
func (i *installation) Close(ctx context.Context) error { return i.backends.Close(ctx, Name) }

// process is a leader; nothing is known of what it starts.
type process struct {
	leader *os.Process
	name   string
	exited <-chan struct{}
}

func (p *process) PID() int { return p.leader.Pid }

// Signal looks at exited first, because a zombie accepts signals.
func (p *process) Signal(sig os.Signal) error {
	if p.gone() {
		return os.ErrProcessDone
	}
	return p.leader.Signal(sig)
}

// Terminate sends SIGTERM, which Windows does not have: there it is an error.
func (p *process) Terminate() error { return p.endWith(syscall.SIGTERM) }

func (p *process) Kill() error { return p.endWith(os.Kill) }

func (p *process) endWith(sig os.Signal) error {
	if err := p.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) Members() ([]registry.Member, error) {
	if p.gone() {
		return nil, nil
	}
	return []registry.Member{{PID: p.PID(), Name: p.name}}, nil
}

func (p *process) Done() <-chan struct{} { return p.exited }

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
