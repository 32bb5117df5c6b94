package registrytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A behaviour is something that every strategy does alike, whatever it guarantees.
type behaviour struct {
	name  string
	about string // what is wrong if it fails
	check func(*trial) error
}

// behaviours are in the order in which they are tried: what the later ones rely on
// comes first.
var behaviours = []behaviour{
	{"launcher", "the command's argv[0] and arguments reach the backend, which is this executable itself and nothing that launches it", isNoLauncher},
	{"members", "a backend that runs has a PID, is its own member, and is not done", hasMembers},
	{"command", "Start leaves the command its streams, and sets Process as os/exec does", givesCommandBack},
	{"refused", "a Start that is refused leaves nothing that runs or holds the command's streams", leavesNothing},
	{"status", "Done is closed when nothing is left, waited for or not, and cmd.Wait has the leader's exit code", hasStatus},
	{"end", "Done is one channel; after the end Signal returns os.ErrProcessDone, there are no members, and to kill once more is no failure", endsForGood},
	{"exit-state", "ExitState, where there is one, says that the leader runs, and then how it ended, waited for or not", knowsExitState},
	{"pidfd", "Pidfd, where there is one, refers to a leader that runs, and is os.ErrProcessDone once it has exited", opensPidfd},
	{"kill", "Kill ends a backend, and may be called by several at once", kills},
	{"terminate", "Terminate asks a backend to end, or says that it cannot", terminates},
	{"context", "the end of the command's context ends the backend", heedsContext},
	{"missing", "a program that is not there gives the error of os/exec, and no process", missesProgram},
	{"leader-exit", "what the leader leaves is killed, waited for, let go or asked to end, as Start was told, or Start refuses", heedsLeaderExit},
	{"left-behind", "once the leader has exited Signal returns os.ErrProcessDone, and Members, Terminate and Kill are about what it has left", outlivesLeader},
	{"breakaway", "a command that is to break away is refused, or done from the beginning", breaksAway},
	{"close", "Close ends every backend, may be called again, and nothing is started or wrapped after it", closes},
	{"close-expired", "a Close that gave up can be finished by another", closesLater},
	{"close-during-start", "a Close during Start returns with its context, and what was being started is ended or refused", closesDuringStart},
	{"close-at-once", "several may call Close at the same time", closesAtOnce},
	{"install-cancelled", "Install with a context that is done returns the context's error, and nothing is in force", heedsInstallContext},
	{"wrap", "a wrapped command is contained by a plain Start, and cannot start after Close", wraps},
	{"wrap-changed", "what is done to a wrapped command before its start applies; Contained tells whether it was contained; it starts once", heedsChanges},
	{"run", "Run has the command's exit code or signal, passes SIGTERM on, calls Started once, ends what is left, and has the error of os/exec for a program that is not there", runs},
}

// Test holds a strategy to what the interfaces say of every strategy, in this
// process, unbound from its parent: Strategy, Installation, Process and Wrapper. A Runner's commands run below a process that is started for it, which looks s up as a
// drill's owner does. Test
// returns what is wrong, one line for each, or nil; it wraps errors.ErrUnsupported
// where s does not work here. The program calls [Main] first, as for [Run], which
// also holds the drills.
func Test(ctx context.Context, s registry.Strategy) error {
	if err := registry.Probe(ctx, s); err != nil {
		return err
	}
	var errs []error
	for _, b := range behaviours {
		err := b.try(ctx, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", b.name, b.about, err))
		}
		if err != nil && b.name == "launcher" {
			break // the others would wait for a backend that never is one
		}
	}
	return errors.Join(errs...)
}

// patience bounds each wait for something that must happen. It does not judge how
// long that takes: it is for strategies under which it never does.
const patience = 30 * time.Second

// A trial is one behaviour being tried, with an installation of its own.
type trial struct {
	ctx     context.Context
	s       registry.Strategy
	in      registry.Installation
	cleanup []func()
}

var unbound = registry.InstallOptions{OutliveParent: true}

func (b behaviour) try(ctx context.Context, s registry.Strategy) (err error) {
	in, err := s.Install(ctx, unbound)
	if err != nil || in == nil {
		return fmt.Errorf("Install, after a Probe without an error: %v, %w", in, err)
	}
	t := &trial{ctx: ctx, s: s, in: in}
	defer func() {
		for _, f := range slices.Backward(t.cleanup) {
			f()
		}
	}()
	err = b.check(t)
	if closeErr := t.close(patience); err == nil && closeErr != nil {
		err = fmt.Errorf("Close at the end: %w", closeErr)
	}
	return err
}

func (t *trial) close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), limit)
	defer cancel()
	return t.in.Close(ctx)
}
