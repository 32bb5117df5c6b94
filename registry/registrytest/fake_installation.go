package registrytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/exitwatch"
)

// fakeInstallation starts commands as exec.Cmd.Start does, on every platform.
type fakeInstallation struct {
	fake *Fake
	once sync.Once // counts the first Close

	mu     sync.Mutex
	closed bool
	starts sync.WaitGroup  // those under way
	live   []*plainProcess // also those that have ended
	unrun  []*wrappedProcess
}

func (i *fakeInstallation) Cleanup() registry.Cleanup {
	return cmp.Or(i.fake.Cleanup, i.fake.Target())
}

func (i *fakeInstallation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := i.fake.StartErr; err != nil {
		return nil, err
	}
	if err := i.begin("start " + cmd.Path); err != nil {
		return nil, err
	}
	defer i.starts.Done()
	p, err := startPlainly(cmd, opts)
	if err != nil {
		return nil, &registry.Error{Op: "start " + cmd.Path, Strategy: i.fake.Describe().Name, Err: err}
	}
	i.add(p)
	i.fake.record(&i.fake.started, cmd)
	return &fakeProcess{Process: p, fake: i.fake}, nil
}

// begin admits a start; i.starts.Done must follow.
func (i *fakeInstallation) begin(op string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return &registry.Error{Op: op, Strategy: i.fake.Describe().Name, Err: registry.ErrClosed}
	}
	i.starts.Add(1)
	return nil
}

// add has Close end p, or does so where a Close has not waited for the start.
func (i *fakeInstallation) add(p *plainProcess) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.live = append(i.live, p)
	if i.closed {
		_ = p.Kill() // an error means that it is gone
	}
}

func startPlainly(cmd *exec.Cmd, opts registry.StartOptions) (*plainProcess, error) {
	if err := opts.RefuseBreakaway("Close ends every process that was started here"); err != nil {
		return nil, err
	}
	if err := opts.RefuseTerm("a fake does not know what the leader leaves"); err != nil {
		return nil, err
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
	return &plainProcess{leader: cmd.Process, name: filepath.Base(cmd.Path), exited: exited}, nil
}

// Wrap leaves cmd as it is: a plain start of it is what a fake would do too. It
// never learns of that start, so the process it returns stays unstarted.
func (i *fakeInstallation) Wrap(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := opts.RefuseBreakaway("a fake wraps backends only"); err != nil {
		return nil, err
	}
	if err := i.fake.WrapErr; err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, registry.ErrClosed
	}
	p := &wrappedProcess{done: make(chan struct{})}
	i.unrun = append(i.unrun, p)
	i.fake.record(&i.fake.wrapped, cmd)
	return &fakeProcess{Process: p, fake: i.fake}, nil
}

// Close kills the leaders that are still alive, and waits for them.
func (i *fakeInstallation) Close(ctx context.Context) error {
	i.once.Do(func() { i.fake.count(&i.fake.closes) })
	return cmp.Or(i.fake.CloseErr, i.end(ctx))
}

func (i *fakeInstallation) end(ctx context.Context) error {
	i.mu.Lock()
	i.closed = true
	for _, p := range i.unrun {
		close(p.done)
	}
	i.unrun = nil
	i.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		i.starts.Wait()
	}()
	fail := func(what string) error {
		return &registry.Error{Op: "close", Strategy: i.fake.Describe().Name, Err: fmt.Errorf("%s: %w", what, ctx.Err())}
	}
	select {
	case <-over:
	case <-ctx.Done():
		return fail("a start is under way")
	}
	i.mu.Lock()
	live := slices.Clone(i.live)
	i.mu.Unlock()
	for _, p := range live {
		_ = p.Kill() // an error means that it is gone, which the wait below shows
	}
	for _, p := range live {
		select {
		case <-p.exited:
		case <-ctx.Done():
			return fail(fmt.Sprintf("process %d has not ended", p.PID()))
		}
	}
	return nil
}
