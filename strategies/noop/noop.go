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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/exitwatch"
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
	return &installation{live: make(map[*process]struct{})}, nil
}

type installation struct {
	mu     sync.Mutex
	closed bool
	live   map[*process]struct{}
}

func (*installation) Cleanup() registry.Cleanup { return registry.CleanupUnsupportedNoop }

func (i *installation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	err := opts.RefuseBreakaway("Close ends every process that was started here")
	if err != nil {
		return nil, &registry.Error{Op: "start " + cmd.Path, Strategy: Name, Err: err}
	}
	p, err := i.start(cmd)
	if err != nil {
		return nil, &registry.Error{Op: "start " + cmd.Path, Strategy: Name, Err: err}
	}
	return p, nil
}

func (i *installation) start(cmd *exec.Cmd) (*process, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, registry.ErrClosed
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited, err := exitwatch.Watch(cmd.Process)
	if err != nil { // "if it fails, nothing runs"
		err = errors.Join(err, cmd.Process.Kill())
		_ = cmd.Wait()
		return nil, err
	}
	p := &process{leader: cmd.Process, name: filepath.Base(cmd.Path), exited: exited}
	i.live[p] = struct{}{}
	go i.forget(p)
	return p, nil
}

func (i *installation) forget(p *process) {
	<-p.exited
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.live, p)
}

// Close kills the leaders that are still alive, and waits for them.
func (i *installation) Close(ctx context.Context) error {
	i.mu.Lock()
	i.closed = true
	var left []*process
	for p := range i.live {
		left = append(left, p)
	}
	i.mu.Unlock()

	var errs []error
	for _, p := range left {
		if err := p.Kill(); err != nil {
			errs = append(errs, fmt.Errorf("kill %s (pid %d): %w", p.name, p.PID(), err))
		}
	}
	for _, p := range left {
		select {
		case <-p.exited:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("%s (pid %d) has not exited yet: %w", p.name, p.PID(), ctx.Err()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &registry.Error{Op: "close", Strategy: Name, Err: err}
	}
	return nil
}

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
