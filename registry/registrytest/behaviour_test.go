package registrytest_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func init() { registrytest.Main(runners()...) }

// twisted is a strategy that keeps to the interfaces, but for what a test changes.
type twisted struct {
	registrytest.Fake
	install func(context.Context, *twisted) (registry.Installation, error)
	start   func(registry.Installation, *exec.Cmd, registry.StartOptions) (registry.Process, error)
	process func(registry.Process) registry.Process
	close   func(context.Context, registry.Installation) error
	tree    bool // it declares what it does not do
}

type twistedInstallation struct {
	registry.Installation
	t *twisted
}

func (t *twisted) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	if t.install != nil {
		return t.install(ctx, t)
	}
	in, err := t.Fake.Install(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &twistedInstallation{in, t}, nil
}

func (i *twistedInstallation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	start := registry.Installation.Start
	if i.t.start != nil {
		start = i.t.start
	}
	p, err := start(i.Installation, cmd, opts)
	if err == nil && i.t.process != nil {
		p = i.t.process(p)
	}
	return p, err
}

func (i *twistedInstallation) Close(ctx context.Context) error {
	if i.t.close != nil {
		return i.t.close(ctx, i.Installation)
	}
	return i.Installation.Close(ctx)
}

// The ways in which a Process can be wrong.
type (
	noPID       struct{ registry.Process }
	accepting   struct{ registry.Process }
	unkillable  struct{ registry.Process }
	immortal    struct{ registry.Process }
	deaf        struct{ registry.Process }
	doneTooSoon struct{ registry.Process }
	twoChannels struct{ registry.Process }
	wrongState  struct{ registry.Process }
	lateState   struct{ registry.Process }
	noPidfd     struct{ registry.Process }
)

func (noPID) PID() int                   { return 0 }
func (accepting) Signal(os.Signal) error { return nil }
func (p unkillable) Kill() error {
	select {
	case <-p.Done():
		return errors.New("there is nobody to kill")
	default:
		return p.Process.Kill()
	}
}
func (p immortal) Members() ([]registry.Member, error) {
	return []registry.Member{{PID: p.PID()}}, nil
}
func (p twoChannels) Done() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		<-p.Process.Done()
		close(c)
	}()
	return c
}

// ExitState knows the end before it comes, or a wrong one.
func (wrongState) ExitState(context.Context) (registry.ExitState, error) {
	return registry.ExitState{}, nil
}
func (p lateState) ExitState(context.Context) (registry.ExitState, error) {
	select {
	case <-p.Done():
		return registry.ExitState{Signal: 1}, nil
	default:
		return registry.ExitState{}, registry.ErrRunning
	}
}
func (noPidfd) Pidfd() (*os.File, error) { return os.Open(os.DevNull) }
func (deaf) Terminate() error            { return errors.New("deaf") }
func (doneTooSoon) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// TestBehaviour: the kit finds each of these faults, names it, and finds none in a
// strategy that has none.
func TestBehaviour(t *testing.T) {
	sleeper(t) // or skip, where nothing can be started
	nothing := registry.Description{Guarantees: []registry.Guarantee{}}
	for want, twist := range map[string]*twisted{
		"": {},
		"launcher: ": {start: func(in registry.Installation, cmd *exec.Cmd, o registry.StartOptions) (registry.Process, error) {
			cmd.Args = append([]string{cmd.Path}, cmd.Args[1:]...)
			return in.Start(cmd, o)
		}},
		"command: ": {start: func(in registry.Installation, cmd *exec.Cmd, o registry.StartOptions) (registry.Process, error) {
			p, err := in.Start(cmd, o)
			cmd.Stderr = io.Discard
			return p, err
		}},
		"members: ":           {process: func(p registry.Process) registry.Process { return noPID{p} }},
		"members: done: true": {process: func(p registry.Process) registry.Process { return doneTooSoon{p} }},
		"end: Signal":         {process: func(p registry.Process) registry.Process { return accepting{p} }},
		"end: Kill":           {process: func(p registry.Process) registry.Process { return unkillable{p} }},
		"end: Members":        {process: func(p registry.Process) registry.Process { return immortal{p} }},
		"end: Done":           {process: func(p registry.Process) registry.Process { return twoChannels{p} }},
		"exit-state: while":   {process: func(p registry.Process) registry.Process { return wrongState{p} }},
		"exit-state: before":  {process: func(p registry.Process) registry.Process { return lateState{p} }},
		"pidfd: after":        {process: func(p registry.Process) registry.Process { return noPidfd{p} }},
		"terminate: ":         {process: func(p registry.Process) registry.Process { return deaf{p} }},
		"missing: ": {start: func(in registry.Installation, cmd *exec.Cmd, o registry.StartOptions) (registry.Process, error) {
			p, err := in.Start(cmd, o)
			if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
				err = errors.New("no")
			}
			return p, err
		}},
		"refused: ": {start: func(in registry.Installation, cmd *exec.Cmd, o registry.StartOptions) (registry.Process, error) {
			p, err := in.Start(cmd, o)
			if errors.Is(err, registry.ErrClosed) { // and yet it runs
				again := &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Stdin: cmd.Stdin, Stdout: cmd.Stdout}
				if again.Start() == nil {
					go func() { _ = again.Wait() }()
				}
			}
			return p, err
		}},
		"leader-exit: kill":  {tree: true},
		"left-behind: membe": {tree: true},
		"breakaway: ": {start: func(in registry.Installation, cmd *exec.Cmd, o registry.StartOptions) (registry.Process, error) {
			o.Breakaway = false
			return in.Start(cmd, o)
		}},
		"close: Close": {close: func(ctx context.Context, in registry.Installation) error { return nil }},
		"install-cancelled: ": {install: func(_ context.Context, t *twisted) (registry.Installation, error) {
			in, err := t.Fake.Install(context.Background(), registry.InstallOptions{})
			return &twistedInstallation{in, t}, err
		}},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			twist.Description = nothing
			if twist.tree {
				twist.Description = registry.Description{Guarantees: guarantees("leader-exit=tree/kernel")}
			}
			err := registrytest.Test(t.Context(), twist)
			name, detail, _ := strings.Cut(want, ": ")
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.Contains("\n"+err.Error(), "\n"+name+": ") || !strings.Contains(err.Error(), detail)):
				t.Errorf("not found: %q in %v", want, err)
			}
		})
	}
	broken := &registrytest.Fake{ProbeErr: errors.New("an I/O error")}
	if err := registrytest.Test(t.Context(), broken); !errors.Is(err, broken.ProbeErr) {
		t.Errorf("a Probe that fails: %v", err)
	}
}
