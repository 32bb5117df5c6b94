package containment

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"

	"github.com/seed329817d7/contain/registry"
)

// A Containment is a strategy in force in this process, and the backends that
// were started through it. It is safe for concurrent use. Make one with
// [Install], or with [New] where it is to be in force only later.
type Containment struct {
	cfg    Config
	events *events
	// turn is held by the one Install or Close that runs: a lock that a context
	// can stop waiting for.
	turn chan struct{}
	// unfinished: the last Close failed. Guarded by turn.
	unfinished bool

	mu      sync.Mutex
	state   State
	session *session // of the latest Install; kept after Close for what it says
}

// Install puts the strategy that cfg asks for in force in this process. If it
// fails, nothing is in force, and the one-line error has the reason for every
// strategy that was looked at.
func Install(ctx context.Context, cfg Config) (*Containment, error) {
	c := New(cfg)
	if err := c.Install(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// New returns a containment that is not in force: Start fails with
// ErrNotInstalled until Install has succeeded.
func New(cfg Config) *Containment {
	return &Containment{cfg: cfg, events: newEvents(cfg), turn: make(chan struct{}, 1), state: StateNew}
}

// Install puts the containment in force. It is a no-op if it is, and installs
// anew after Close.
func (c *Containment) Install(ctx context.Context) error {
	if err := c.takeTurn(ctx, "install"); err != nil {
		return err
	}
	defer c.endTurn()
	old, state := c.current()
	if state == StateInForce {
		return nil
	}
	if c.unfinished {
		if err := old.close(ctx); err != nil {
			return &registry.Error{Op: "install", Err: fmt.Errorf("finish the last Close: %w", err)}
		}
		c.unfinished = false
	}
	s, err := c.cfg.install(ctx, c.events)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.state = s, StateInForce
	return nil
}

// Start starts cmd as a backend, in place of cmd.Start, and leaves cmd as that
// would: cmd.Process is set and cmd.Wait must be called. If it fails, nothing runs,
// and the pipes that cmd.StdoutPipe and its like have made are closed. Where
// cmd.Start itself would fail, before it looks for the program, the error is that
// of cmd.Start.
func (c *Containment) Start(cmd *exec.Cmd, opts ...StartOption) (*Backend, error) {
	s, o, err := c.admit("start", cmd, opts)
	fail := func(err error) (*Backend, error) {
		ev := Event{Kind: EventFailed, Strategy: s.name(), Label: o.label, Err: err}
		if cmd != nil {
			ev.Path = cmd.Path
		}
		c.events.happened(ev)
		return nil, err
	}
	if err != nil {
		return fail(registry.Refuse(cmd, err))
	}
	p, err := registry.Start(s.in, cmd, o.StartOptions)
	if err != nil {
		return fail(err)
	}
	return s.track(cmd, cmd.Path, p, o), nil
}

// Wrap changes cmd so that a later plain cmd.Start, by a library for example, is
// contained. The backend stands for what will be started: until then its PID is
// 0. Where the strategy cannot do that the error wraps errors.ErrUnsupported and
// cmd is as it was.
//
// On Linux (linux/cgroup, linux/subreaper, linux/pidns) it changes cmd.Path alone, to one
// that names the command, and the library may do to the command what it may do to any:
//
//	Args, Env, Dir, streams       append, replace: the command's own
//	ExtraFiles                    the command's own, nothing is added
//	SysProcAttr                   Credential, Setsid, Setctty, Setpgid, Pdeathsig, Chroot and
//	                              Cloneflags mean what they mean plainly; they apply to
//	                              the proxy, too, see Backend.Limits
//	Path replaced                 not contained; Backend.Contained says so
//	started twice, after Close,   nothing runs, the exit code is 125
//	or by a process that is gone
//	in another network or PID     nothing runs: exit code 125, or Start fails where
//	namespace, or Chroot without  the path leads nowhere
//	/proc
//	never started                 collected with the command, nothing is kept
//
// A file that cannot be executed makes the command exit with 127.
func (c *Containment) Wrap(cmd *exec.Cmd, opts ...StartOption) (*Backend, error) {
	s, o, err := c.admit("wrap", cmd, opts)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Backend, error) {
		return nil, &registry.Error{Op: "wrap " + cmd.Path, Strategy: s.name(), Err: err}
	}
	w, ok := s.in.(registry.Wrapper)
	if !ok {
		return fail(fmt.Errorf("it cannot contain a command that something else starts; use Start: %w", errors.ErrUnsupported))
	}
	path := cmd.Path // of the command, not of what Wrap puts there
	p, err := w.Wrap(cmd, o.StartOptions)
	if err != nil {
		return nil, err
	}
	return s.track(nil, path, p, o), nil
}

// Close stops every backend that was started through this containment, all at
// once, each as [Backend.Stop] does, and returns when nothing is left of them. Start
// then fails with registry.ErrClosed. Closing again tries again to end what the
// first Close has left.
//
// A deadline of ctx shortens the grace, so that there is time to kill before it. A
// ctx that is cancelled meanwhile ends the grace; what is left is killed and waited
// for. One that is done when Close is called does neither, so a service may defer
// Close with the context whose end made it stop: Close then takes up to the grace
// and twice registry.SupervisorKillDeadline.
func (c *Containment) Close(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), c.cfg.grace()+2*registry.SupervisorKillDeadline)
		defer cancel()
	}
	if err := c.takeTurn(ctx, "close"); err != nil {
		return err
	}
	defer c.endTurn()
	c.mu.Lock()
	c.state = StateClosed
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	err := s.close(ctx)
	c.unfinished = err != nil
	c.events.happened(Event{Kind: EventClosed, Strategy: s.name(), Err: err})
	c.events.flush(registry.SupervisorKillDeadline)
	return err
}

// admit checks what Start and Wrap have in common.
func (c *Containment) admit(verb string, cmd *exec.Cmd, opts []StartOption) (*session, startOptions, error) {
	o := startOptions{StartOptions: registry.StartOptions{Grace: c.cfg.grace()}}
	s, state := c.current()
	fail := func(op string, err error) (*session, startOptions, error) {
		return s, o, &registry.Error{Op: op, Strategy: s.name(), Err: err}
	}
	if cmd == nil {
		return fail(verb, errors.New("the command is nil"))
	}
	op := verb + " " + cmd.Path
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case state == StateNew:
		return fail(op, ErrNotInstalled)
	case state == StateClosed:
		return fail(op, registry.ErrClosed)
	}
	if err := o.contradiction(); err != nil {
		return fail(op, err)
	}
	return s, o, registry.Startable(cmd)
}

func (c *Containment) current() (*session, State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.state
}

func (c *Containment) takeTurn(ctx context.Context, op string) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &registry.Error{Op: op, Err: fmt.Errorf("another Install or Close is under way: %w", ctx.Err())}
	}
}

func (c *Containment) endTurn() { <-c.turn }
