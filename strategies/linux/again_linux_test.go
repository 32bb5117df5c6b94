package linux

import (
	"context"
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// What several installations in one process choose: each its own, but for what
// concerns the process itself.

func init() { Roles["again"] = againRole }

// inForce returns the parent-death signal of the thread that holds it, 0 if none does.
func inForce() unix.Signal {
	var sig int32
	t := process.binding.thread
	if t == nil {
		return 0
	}
	t.call()
	t.run(func() { must(unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0)) })
	return unix.Signal(sig)
}

// againRole installs under two strategies and ends at the first surprise.
func againRole() {
	ctx := context.Background()
	first, second := byName(os.Getenv(strategyEnv)), byName(os.Getenv(otherStrategyEnv))
	expect := func(what string, ok bool, got any) {
		if !ok {
			must(errors.New(what + ": " + text(got.(error))))
		}
	}
	unbound, err := first.Install(ctx, registry.InstallOptions{OutliveParent: true})
	must(err)
	also, err := second.Install(ctx, registry.InstallOptions{OutliveParent: true})
	must(err)
	if unbound.Cleanup() != registry.CleanupUnbound || also.Cleanup() != registry.CleanupUnbound || inForce() != 0 {
		must(errors.New("unbound it is not"))
	}
	_, err = second.Install(ctx, registry.InstallOptions{})
	expect("bound beside one that is not to be", errors.Is(err, registry.ErrConflict) && !errors.Is(err, errors.ErrUnsupported), err)
	if inForce() != 0 {
		must(errors.New("a refused Install has bound the process"))
	}
	must(also.Close(ctx))
	must(also.Close(ctx))
	_, err = second.Install(ctx, registry.InstallOptions{})
	expect("one is in force still", errors.Is(err, registry.ErrConflict), err)
	must(unbound.Close(ctx))

	bound, err := second.Install(ctx, registry.InstallOptions{})
	must(err)
	if bound.Cleanup() != registry.CleanupLinuxParentDeathSignal || inForce() != unix.SIGTERM {
		must(errors.New("bound it is not"))
	}
	again, err := first.Install(ctx, registry.InstallOptions{})
	must(err)
	must(again.Close(ctx))
	must(bound.Close(ctx))
	_, err = first.Install(ctx, registry.InstallOptions{OutliveParent: true})
	expect("unbound once it is bound, for good", errors.Is(err, registry.ErrConflict), err)
	say("as it should be")
}

const otherStrategyEnv = "CONTAIN_TEST_OTHER_STRATEGY"

func TestInstallTwice(t *testing.T) {
	for _, first := range working(t) {
		for _, second := range working(t) {
			name := first.Describe().Name + ", " + second.Describe().Name
			out := played(t, role("again", strategyEnv+"="+first.Describe().Name, otherStrategyEnv+"="+second.Describe().Name))
			if out != "as it should be\n" {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}

// TestSupervisorIsEachInstallsOwn: an earlier installation's supervisor is not taken
// for one that does not exist.
func TestSupervisorIsEachInstallsOwn(t *testing.T) {
	for _, s := range working(t) {
		if s == Pdeathsig() {
			continue
		}
		install(t, s)
		other, err := s.Install(t.Context(), registry.InstallOptions{OutliveParent: true, Supervisor: "/no/such/contain"})
		if !errors.Is(err, registry.ErrSupervisor) || other != nil {
			t.Errorf("%s: %v", s.Describe().Name, err)
		}
	}
}
