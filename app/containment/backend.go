package containment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A Backend is a command that was started through a [Containment]: its leader
// and, as far as the strategy reaches, the tree below it. It is safe for
// concurrent use.
type Backend struct {
	proc     registry.Process
	path     string
	cmd      *exec.Cmd // nil if it was wrapped, so that one that is never started can be collected
	strategy string
	label    string
	grace    time.Duration
	number   uint64 // of its session's, in the order of the starts
	begun    time.Time
	events   *events
	// endsWithLeader: what the leader leaves behind is ended.
	endsWithLeader bool
	// terminate asks the members to end, once: many programs take a second
	// SIGTERM as the order to end at once.
	terminate func() error

	mu     sync.Mutex
	asked  bool // to end
	killed bool
	forced []registry.Member
}

// Report says how a backend was stopped.
type Report struct {
	// Forced lists the processes that were alive when the grace was over and
	// were killed.
	Forced []registry.Member
	// Left lists the processes that are alive still.
	Left []registry.Member
	// Took is how long Stop took.
	Took time.Duration
}

func newBackend(p registry.Process, path, strategy string, o startOptions) *Backend {
	terminate := p.Terminate
	if o.stopSignal != nil {
		terminate = func() error {
			if err := p.Signal(o.stopSignal); !errors.Is(err, os.ErrProcessDone) {
				return err
			}
			return p.Terminate() // those that the leader has left
		}
	}
	return &Backend{
		proc: p, path: path, strategy: strategy, label: o.label, grace: o.StartOptions.Grace, begun: time.Now(),
		endsWithLeader: o.OnLeaderExit != Wait && o.OnLeaderExit != Leave,
		terminate:      sync.OnceValue(terminate),
	}
}

// PID returns the leader's process ID. It is for people to read; it may differ
// from cmd.Process.Pid.
func (b *Backend) PID() int { return b.proc.PID() }

// Pidfd returns a new pidfd of the leader, pidfd_open(2), which the caller closes: for
// prlimit(2), setns(2) and the like, where cmd.Process may be a proxy and a PID may have become
// another's. Once the leader is known to have exited the error is os.ErrProcessDone. Where the strategy
// has none, and on systems other than Linux, it wraps errors.ErrUnsupported.
func (b *Backend) Pidfd() (*os.File, error) {
	if o, ok := b.proc.(registry.PidfdOpener); ok {
		return o.Pidfd()
	}
	return nil, &registry.Error{Op: "open a pidfd of " + b.path, Strategy: b.strategy, Err: errors.ErrUnsupported}
}

// Signal sends sig to the leader. Once the leader has exited the error is
// os.ErrProcessDone.
func (b *Backend) Signal(sig os.Signal) error { return b.proc.Signal(sig) }

// ExitState returns how the leader ended, whatever cmd.Wait says: where cmd.Process is not
// the leader but a proxy for it (see PID) and was killed when the leader had just ended by
// itself, cmd.ProcessState has the end of the proxy.
//
// It is to be called after cmd.Wait. Until the leader's end is known the error wraps
// ErrRunning; it is known a moment after cmd.Wait has returned, and at the latest when
// Done is closed. Any other error says why nobody knows.
func (b *Backend) ExitState() (registry.ExitState, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return b.exitState(ctx)
}

func (b *Backend) exitState(ctx context.Context) (registry.ExitState, error) {
	if r, ok := b.proc.(registry.ExitReporter); ok {
		return r.ExitState(ctx)
	}
	fail := func(err error) (registry.ExitState, error) {
		return registry.ExitState{}, &registry.Error{Op: fmt.Sprintf("exit state of %s (pid %d)", b.path, b.PID()), Strategy: b.strategy, Err: err}
	}
	switch {
	case b.cmd == nil:
		return fail(fmt.Errorf("see cmd.ProcessState of the wrapped command: %w", errors.ErrUnsupported))
	case b.cmd.ProcessState == nil:
		return fail(fmt.Errorf("%w, or cmd.Wait has not returned", registry.ErrRunning))
	}
	return stateOf(b.cmd.ProcessState), nil
}

// stateOf returns what a leader's own process state says.
func stateOf(p *os.ProcessState) registry.ExitState {
	s := registry.ExitState{ExitCode: p.ExitCode()}
	// syscall.WaitStatus of every system that has signals, and of Windows.
	if ws, ok := p.Sys().(interface {
		Signaled() bool
		Signal() syscall.Signal
	}); ok && ws.Signaled() {
		s.Signal = int(ws.Signal())
	}
	return s
}

// Contained returns nil if the backend was started contained, as every backend of
// [Containment.Start] is. For a wrapped command it says why it has not been: it was not
// started yet, or by another path, or could not reach this process. It must not be
// called while the command is being started.
func (b *Backend) Contained() error {
	if w, ok := b.proc.(registry.Wrapped); ok {
		return w.Contained()
	}
	return nil
}

// Limits returns what holds for this backend beside Status.Limits: for a wrapped command,
// what a start by somebody else cannot promise.
func (b *Backend) Limits() []string {
	if w, ok := b.proc.(registry.Wrapped); ok {
		return w.Limits()
	}
	return nil
}

// Done is closed when the last process of the backend has ended. With
// OnLeaderExit(Leave), it is when what the leader left has been let go.
func (b *Backend) Done() <-chan struct{} { return b.proc.Done() }

// Release lets the backend go on purpose: it lives on after Close and after this process,
// under a supervisor that is bound to nobody and still ends what its leader leaves. Done is closed,
// an event and Stats record it, and Stop has nothing to do any more. cmd.Wait still returns
// when the leader has exited, and cmd.Process.Kill still ends the tree: so does the context
// of an exec.CommandContext, if it is cancelled before this process has ended.
//
// Where the strategy cannot let go, the error wraps errors.ErrUnsupported and the backend is
// contained as before: only linux/subreaper can. If the backend had ended before, the
// error is os.ErrProcessDone.
func (b *Backend) Release(ctx context.Context) error {
	r, ok := b.proc.(registry.Releaser)
	if !ok {
		return &registry.Error{Op: fmt.Sprintf("release %s (pid %d)", filepath.Base(b.path), b.PID()), Strategy: b.strategy,
			Err: fmt.Errorf("%w: this strategy cannot let go of a backend; on Linux name linux/subreaper", errors.ErrUnsupported)}
	}
	return r.Release(ctx)
}

// Stop asks the backend's processes to end, kills those that are alive after the
// grace, and returns when all are gone. A deadline of ctx shortens the grace; a
// ctx that is cancelled ends it: what is left is killed, and Stop returns without
// waiting for the effect. The error wraps ErrLeft if anything may be alive still.
//
// Stop may be called again, and by several goroutines at once. Of a backend that
// is gone it returns an empty report. A wrapped command that has not been started
// does not run after it.
func (b *Backend) Stop(ctx context.Context) (Report, error) { return b.stop(ctx, ctx) }

// stop is Stop with a context of its own for the time after the order to kill.
func (b *Backend) stop(ctx, killing context.Context) (Report, error) {
	began := time.Now()
	err := b.end(ctx, killing)
	b.mu.Lock()
	report := Report{Forced: b.forced}
	b.mu.Unlock()
	left, membersErr := b.proc.Members()
	switch {
	case !b.gone():
		report.Left = left
		if err = b.notGone(ctx, left, err, membersErr); err != nil {
			b.events.happened(Event{Kind: EventLeft, Backend: b, Count: len(left), Members: left, Err: err})
		}
	case errors.Is(membersErr, ErrLeft):
		err = b.notGone(ctx, nil, err)
		b.events.happened(Event{Kind: EventLeft, Backend: b, Err: err})
	default:
		err = nil // whatever went wrong on the way, nothing is left
	}
	report.Took = time.Since(began)
	return report, err
}

// end escalates until the backend is gone. It returns what failed on the way.
func (b *Backend) end(ctx, killing context.Context) error {
	if b.gone() {
		return nil
	}
	if b.pending() {
		// It is not to be started any more, unless it is being started just now.
		if err := b.proc.Kill(); b.pending() {
			return err
		}
	}
	grace, killTime := b.timetable(ctx)
	var asked error
	if b.ask() {
		asked = b.terminate()
		if errors.Is(asked, errors.ErrUnsupported) { // nobody was asked, so there is nothing to wait for
			grace = 0
		}
		if waitFor(ctx, b.Done(), grace) {
			return nil
		}
	}
	killErr := b.kill()
	waitFor(killing, b.Done(), killTime)
	return compose(asked, killErr)
}

// timetable divides the time until ctx's deadline: the kill deadline, or half of
// the time if there is less, is kept back for killing, and some of that for
// the report, so that it is made before whoever waits for it gives up.
func (b *Backend) timetable(ctx context.Context) (grace, kill time.Duration) {
	grace, kill = b.grace, registry.SupervisorKillDeadline
	deadline, ok := ctx.Deadline()
	if !ok {
		return grace, kill
	}
	rest := max(time.Until(deadline), 0)
	kill = min(kill, rest/2)
	grace = min(grace, rest-kill)
	return grace, kill - min(kill/10, 200*time.Millisecond)
}

// kill records once who had to be forced, and orders the end of all.
func (b *Backend) kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.killed {
		b.killed = true
		b.forced, _ = b.proc.Members() // for the report only; not knowing is no reason not to kill
		if len(b.forced) > 0 {
			defer b.events.happened(Event{Kind: EventForced, Backend: b, Count: len(b.forced), Members: b.forced})
		}
	}
	return b.proc.Kill()
}

// ask takes note that the backend is to end, and reports whether it is to be asked to: not
// if it has been killed.
func (b *Backend) ask() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = true
	return !b.killed
}

func (b *Backend) gone() bool {
	select {
	case <-b.Done():
		return true
	default:
		return false
	}
}

// notGone says what is left, or nil for a wrapped command that was never started.
func (b *Backend) notGone(ctx context.Context, left []registry.Member, errs ...error) error {
	if b.pending() && len(left) == 0 {
		return nil
	}
	what := fmt.Errorf("%w: %s", ErrLeft, memberList(left))
	if len(left) == 0 {
		what = fmt.Errorf("%w: which ones is not known", ErrLeft)
	}
	return &registry.Error{
		Op:       fmt.Sprintf("stop %s (pid %d)", filepath.Base(b.path), b.PID()),
		Strategy: b.strategy,
		Err:      compose(append([]error{what, ctx.Err()}, errs...)...),
	}
}

// waitFor reports whether done was closed before ctx ended and limit passed.
func waitFor(ctx context.Context, done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}
