package linux

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// parentAtStart is the parent when this package was initialised, which is the
// closest to the first instruction that a package can come.
var parentAtStart = os.Getppid()

// bindToParent sets this process's parent-death signal to SIGTERM and checks
// that the parent has not ended before. "ppid is 1" would be no test: the parent
// may be PID 1, and a subreaper may adopt. A parent in another PID namespace is 0
// before and after; of its end nothing can be known.
func bindToParent(strategy string) error {
	var err error
	onThread(func() {
		err = os.NewSyscallError("prctl PR_SET_PDEATHSIG", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0))
		if now := os.Getppid(); err == nil && now != parentAtStart {
			err = fmt.Errorf("the parent process (%d) has ended already, now it is %d; start this process from one that lives, or set OutliveParent", parentAtStart, now)
		}
	})
	if err != nil {
		return &registry.Error{Op: "bind this process to its parent", Strategy: strategy, Err: fmt.Errorf("%w: %w", registry.ErrParentDeathSignal, err)}
	}
	return nil
}

// bind does what opts ask and returns what is in force.
func bind(strategy string, opts registry.InstallOptions) (registry.Cleanup, error) {
	if opts.OutliveParent {
		return registry.CleanupUnbound, nil
	}
	return registry.CleanupLinuxParentDeathSignal, bindToParent(strategy)
}
