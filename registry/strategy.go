package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// A Strategy is one way to keep backends from outliving their owner. It is safe
// for concurrent use.
//
// A strategy may also implement [Prober], [Runner]; its installations may
// implement [Wrapper].
type Strategy interface {
	// Describe returns what the strategy declares: pure data, the same on every
	// operating system, in memory that the caller owns.
	Describe() Description
	// Target returns the cleanup that Install attempts for this process.
	Target() Cleanup
	// Install puts the strategy in force in this process. Where it cannot work
	// (another platform, a kernel that is too old, a permission it lacks) the
	// error wraps errors.ErrUnsupported and nothing is in force; any other error
	// means that it should have worked. A partial installation is undone.
	Install(ctx context.Context, opts InstallOptions) (Installation, error)
}

// InstallOptions are the choices that [Strategy].Install honours. The zero value
// is the default.
type InstallOptions struct {
	// OutliveParent leaves this process unbound from its own parent. The
	// installation's Cleanup is then CleanupUnbound where binding to the parent
	// is what the strategy's target does. It concerns the whole process: where an
	// earlier Install has bound that, or a later one would while this is in force,
	// the error wraps ErrConflict. The other options are each Install's own.
	OutliveParent bool
	// Supervisor is the path of an installed contain command to be used as the
	// supervisor, in place of this executable started again.
	Supervisor string
	// HelperReplaced, if not nil, is called when a helper process of the strategy's, such as
	// the supervisor of a whole service, has ended while it was needed: what is enforced by
	// it was suspended. It is called once another has taken its place, with nil, or when that
	// could not be done, with the reason; the next Start then tries again.
	HelperReplaced func(error)
}

// An Installation is a strategy in force in this process. It is safe for
// concurrent use. Effects on the process itself (a parent-death signal, a job)
// are shared by every installation and stay after Close.
type Installation interface {
	// Cleanup returns what binds this process; it may differ from the target.
	Cleanup() Cleanup
	// Start starts cmd, which is [Startable], as a backend: cmd.Process is set, and
	// cmd.Wait gives the leader's status. After Close it returns ErrClosed. If it
	// fails, nothing runs. Callers use the function [Start], which keeps the rest of
	// os/exec's contract.
	Start(cmd *exec.Cmd, opts StartOptions) (Process, error)
	// Close ends every backend that this installation started, by force, and
	// returns when all are gone or ctx is done. Closing again is a no-op.
	Close(ctx context.Context) error
}

// Supervised may be implemented by an [Installation], and by a Strategy, whose supervisors
// can begin in more than one way.
type Supervised interface {
	// SupervisorWay returns the way in which they begin here, as the last probe has found it: "" if
	// none has.
	SupervisorWay() string
}

// LeaderExit says what becomes of a backend's other processes when its leader exits.
type LeaderExit int

// The choices. A leader that died of SIGKILL takes its tree with it under each
// but LeaderExitLeave, whichever process sent the signal, as far as the strategy
// can tell: see its limits.
const (
	// LeaderExitKill ends them.
	LeaderExitKill LeaderExit = iota
	// LeaderExitWait lets them run for as long as the owner lives; Done waits for them.
	LeaderExitWait
	// LeaderExitLeave lets them go: nothing holds them from then on.
	LeaderExitLeave
	// LeaderExitTerm asks them to end, once each, by SIGTERM, and ends what is alive
	// after StartOptions.Grace by force. cmd.Wait returns when the leader has exited, and Done is
	// closed when nothing is left. A strategy that cannot ask them refuses the start, see
	// [StartOptions.RefuseTerm].
	LeaderExitTerm
)

// String returns kill, wait, leave or term.
func (l LeaderExit) String() string {
	switch l {
	case LeaderExitKill:
		return "kill"
	case LeaderExitWait:
		return "wait"
	case LeaderExitLeave:
		return "leave"
	case LeaderExitTerm:
		return "term"
	}
	return "invalid"
}

// StartOptions are the choices for one backend.
type StartOptions struct {
	OnLeaderExit LeaderExit
	// Grace is how long what the leader leaves may take to end when it was asked to, with
	// [LeaderExitTerm]. Else it means nothing.
	Grace time.Duration
	// Breakaway starts the command outside of containment, for one that is meant
	// to live on: it is nobody's backend, the Process that Start returns is done
	// from the beginning, and OnLeaderExit means nothing. A strategy that cannot
	// start it so that it outlives the owner refuses it, see [StartOptions.RefuseBreakaway].
	Breakaway bool
}

// RefuseBreakaway returns nil if Breakaway is not set, else an error that wraps
// errors.ErrUnsupported and has the reason. It is for strategies that contain
// whatever they start.
func (o StartOptions) RefuseBreakaway(why string) error {
	if !o.Breakaway {
		return nil
	}
	return fmt.Errorf("breakaway: %s; to leave containment, start the command by other means: %w", why, errors.ErrUnsupported)
}

// RefuseTerm returns nil unless OnLeaderExit is [LeaderExitTerm], else an error that
// wraps errors.ErrUnsupported and has the reason.
func (o StartOptions) RefuseTerm(why string) error {
	if o.OnLeaderExit != LeaderExitTerm {
		return nil
	}
	return fmt.Errorf("end what the leader leaves by SIGTERM first (OnLeaderExit, --on-exit=term): %s: %w", why, errors.ErrUnsupported)
}

// A Process is a started backend, as far as the strategy's reach goes. It is
// safe for concurrent use.
type Process interface {
	// PID is the leader's process ID, as this process's PID namespace numbers
	// it. It may differ from cmd.Process.Pid; it is for people to read, and may be
	// reused once the leader has gone.
	PID() int
	// Signal sends sig to the leader. Once the leader has exited the error is
	// os.ErrProcessDone.
	Signal(sig os.Signal) error
	// Terminate asks the members to end by themselves (SIGTERM, CTRL_BREAK). From then
	// on none is let go, also with LeaderExitLeave: whoever asked is to know who is left.
	Terminate() error
	// Kill orders the end of all members by force. It does not wait. A wrapped command that has
	// not been started does not run from then on.
	Kill() error
	// Members returns the processes that are alive now.
	// The error wraps ErrLeft if nobody can know any more who is.
	Members() ([]Member, error)
	// Done is closed when the last member has exited or is a zombie; with
	// LeaderExitLeave, when what is left has been let go. Every call returns the same channel.
	Done() <-chan struct{}
}

// ExitReporter may be implemented by a [Process] whose cmd.Process is not the leader, so
// that the status of the one may differ from that of the other. Where it is not
// implemented, cmd.ProcessState is the leader's.
type ExitReporter interface {
	// ExitState returns how the leader ended, and waits for it until ctx is done: the
	// error then wraps ErrRunning. Any other error says why nobody can know.
	ExitState(ctx context.Context) (ExitState, error)
}

// LeaderWatcher may be implemented by a [Process] that can tell that its leader has exited
// before Done is closed.
type LeaderWatcher interface {
	// LeaderExited returns a channel that is closed when the leader has exited, or when
	// nobody can know any more.
	LeaderExited() <-chan struct{}
}

// LeftoverReporter may be implemented by a [Process] that can tell what its leader left.
type LeftoverReporter interface {
	// Leftovers returns, once Done is closed, how many processes were ended because the
	// leader had exited, and who they were as far as that is known. Where the end of all
	// was ordered by Kill it may count those.
	Leftovers() (n int, who []Member)
}

// Releaser may be implemented by a [Process] that can be let go on purpose.
type Releaser interface {
	// Release has the backend live on after this process and after Close, and closes
	// Done. It returns os.ErrProcessDone if the backend ended first, and an error that wraps
	// errors.ErrUnsupported if it cannot be let go.
	Release(ctx context.Context) error
	// Released reports, once Done is closed, whether it was because of that.
	Released() bool
}

// PidfdOpener may be implemented by a [Process] that can refer to its leader by more than a
// number.
type PidfdOpener interface {
	// Pidfd returns a new pidfd of the leader, pidfd_open(2), Linux 5.3, which the caller
	// closes. Once the leader is known to have exited the error is os.ErrProcessDone.
	Pidfd() (*os.File, error)
}

// An ExitState is how a leader ended.
type ExitState struct {
	// ExitCode is the exit code, or -1 if it died of Signal.
	ExitCode int `json:"exitCode"`
	// Signal is the number of the signal that it died of, or 0.
	Signal int `json:"signal"`
}

// String returns "exit status N" or "signal N".
func (s ExitState) String() string {
	if s.Signal != 0 {
		return fmt.Sprintf("signal %d", s.Signal)
	}
	return fmt.Sprintf("exit status %d", s.ExitCode)
}

// A Member is a process of a backend at the moment it was seen.
type Member struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Prober may be implemented by a Strategy that can tell whether it would work
// on this host. It finds out by trying, not from version numbers.
type Prober interface {
	// Probe returns nil if Install would work. An error that wraps
	// errors.ErrUnsupported says why it would not, and what to do.
	Probe(ctx context.Context) error
}

// Wrapper may be implemented by an Installation that can contain a command
// which something else will start.
type Wrapper interface {
	// Wrap rewrites cmd, which is [Startable], so that a later
	// cmd.Start is contained. The returned Process is usable from then on: until
	// the start, PID is 0 and Done stays open.
	Wrap(cmd *exec.Cmd, opts StartOptions) (Process, error)
}

// Wrapped may be implemented by the Process that a [Wrapper] returns.
type Wrapped interface {
	// Contained returns nil once the command has been started contained, and
	// otherwise why not, or not yet. It looks at the command, so it must not be
	// called while that is being started.
	Contained() error
	// Settled returns a channel that is closed once the command has been started contained,
	// or never will be, and Started says which. Neither looks at the command.
	Settled() <-chan struct{}
	// Started reports whether the command is known to have been started contained.
	Started() bool
	// Limits returns what a start by somebody else cannot promise, beside the
	// strategy's own limits.
	Limits() []string
}

// Runner may be implemented by a Strategy that can serve a process which exists
// for one command, as contain run does, better than Install and Start do: the
// process then is the backend's proxy itself.
type Runner interface {
	// Run runs cmd (Path, Args, Env, Dir; its streams are this process's own; an Env
	// that is nil is this process's, of which nothing is left out where that can be)
	// to its end, forwards the signals that this process receives, and returns
	// when everything that opts promises is gone. An error that wraps
	// errors.ErrUnsupported is returned before anything was started.
	Run(ctx context.Context, cmd *exec.Cmd, opts RunOptions) (RunResult, error)
}

// ParentEndGrace is how long after its parent's end a [Runner] ends by force what is
// left, if no Grace was asked for: nobody is there any more who could.
const ParentEndGrace = 5 * time.Second

// RunOptions are the choices that [Runner].Run honours.
type RunOptions struct {
	OnLeaderExit LeaderExit
	// Grace is how long after a SIGTERM to this process the tree is ended by
	// force; negative means never. With [LeaderExitTerm] it is how long what the command leaves
	// has got, too, which is ParentEndGrace if it is negative.
	Grace time.Duration
	// DieWithParent ends the tree, and this process, when its parent process ends:
	// the command gets what it gets for a SIGTERM, and what is left after Grace, or
	// after ParentEndGrace if that is negative, is ended by force. If the parent has
	// ended before, the command is not started.
	DieWithParent bool
	// ToGroup passes signals on to the command's process group, which it then leads.
	// Where it has to share this process's own, on a terminal, Run fails.
	ToGroup bool
	// Rewrite says as which signal one that this process receives is passed on; 0
	// swallows it. What is not listed is passed on as it is. A rewritten SIGTERM
	// starts Grace all the same, a swallowed one does not. A terminal's ^C, which
	// the terminal sends to the command itself, is not rewritten.
	Rewrite map[syscall.Signal]syscall.Signal
	// OnForced, if not nil, is called once for each process that had to be killed,
	// before Run returns and not at the same time twice. It may miss some: those
	// beyond the first hundreds, and those that were killed after the supervisor was.
	// RunResult.Forced counts them all. The PID is that of the process's own PID
	// namespace if the strategy makes one.
	OnForced func(Member)
	// Started, if not nil, is called once, when the command has been started and
	// while this process still has its standard streams.
	Started func()
}

// RunResult is how a [Runner]'s command ended.
type RunResult struct {
	// ExitCode is the leader's exit code, or -1 if it died of Signal.
	ExitCode int
	// Signal is the number of the signal that the leader died of, or 0.
	Signal int
	// Forced is the number of processes that had to be killed.
	Forced int
	// Strategy is the name of the strategy that the command was started under, "" if
	// it was not. A [Runner] need not set it: package containment's Run does.
	Strategy string
}

// A Description is what a strategy declares. It is pure data.
type Description struct {
	// Name is platform/mechanism; a third party's is platform/vendor.mechanism.
	Name     string
	Platform Platform
	Summary  string
	Target   Cleanup
	// Guarantees holds at most one per event: the strongest. None means that
	// nothing is promised.
	Guarantees []Guarantee
	Requires   []string
	// Limits says what escapes, and under which conditions a guarantee does not hold.
	Limits []string
	// Supervisor is the contract of the supervisor, nil where there is none.
	Supervisor *SupervisorContract
	// OptIn marks a strategy with side effects on the backend. It is ranked and
	// shown, and chosen only if it is named or nothing else meets what is required.
	OptIn bool
	// Preference decides between strategies whose guarantees rank alike; the
	// larger wins.
	Preference int
	// Unproved says why no drill has run here, for a strategy whose guarantees
	// are declared only; "" otherwise.
	Unproved string
}

// Clone returns a deep copy.
func (d Description) Clone() Description {
	d.Guarantees = slices.Clone(d.Guarantees)
	d.Requires = slices.Clone(d.Requires)
	d.Limits = slices.Clone(d.Limits)
	if d.Supervisor != nil {
		c := *d.Supervisor
		d.Supervisor = &c
	}
	return d
}

// Guarantee returns what is declared for event e.
func (d Description) Guarantee(e Event) (Guarantee, bool) {
	for _, g := range d.Guarantees {
		if g.Event == e {
			return g, true
		}
	}
	return Guarantee{}, false
}

// Unmet returns the requirements that no guarantee of d satisfies.
func (d Description) Unmet(want []Requirement) []Requirement {
	var unmet []Requirement
	for _, r := range want {
		if !slices.ContainsFunc(d.Guarantees, r.SatisfiedBy) {
			unmet = append(unmet, r)
		}
	}
	return unmet
}
