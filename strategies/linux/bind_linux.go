package linux

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
)

// parentAtStart is the parent when this package was initialised, which is the
// closest to the first instruction that a package can come.
var parentAtStart = os.Getppid()

// binding is what installations have chosen for the process itself.
type binding struct {
	mu    sync.Mutex
	bound bool // to the parent, for good
	// thread has this process's parent-death signal, which is a thread's: from a second it
	// would come twice.
	thread    *thread
	outliving int // installations in force that were to leave it unbound
}

// bind does what opts ask and returns what is in force. A choice that another
// Install has made otherwise is an error that wraps registry.ErrConflict.
func bind(strategy string, opts registry.InstallOptions, b *backends.Set) (registry.Cleanup, error) {
	binding := &process.binding
	binding.mu.Lock()
	defer binding.mu.Unlock()
	fail := func(err error) (registry.Cleanup, error) {
		return "", &registry.Error{Op: "bind this process to its parent", Strategy: strategy, Err: err}
	}
	switch {
	case opts.OutliveParent && binding.bound:
		return fail(fmt.Errorf("%w: it gets SIGTERM when its parent ends, for good; do not set OutliveParent", registry.ErrConflict))
	case opts.OutliveParent:
		binding.outliving++
		b.AfterClose(func() {
			binding.mu.Lock()
			defer binding.mu.Unlock()
			binding.outliving--
		})
		return registry.CleanupUnbound, nil
	case binding.outliving > 0:
		return fail(fmt.Errorf("%w: it is to outlive its parent for as long as an installation with OutliveParent is in force; set OutliveParent here as well, or close that first", registry.ErrConflict))
	}
	if binding.thread == nil {
		binding.thread = newThread()
	}
	if err := bindToParent(binding.thread, binding.bound); err != nil {
		return fail(fmt.Errorf("%w: %w", registry.ErrParentDeathSignal, err))
	}
	binding.bound = true
	return registry.CleanupLinuxParentDeathSignal, nil
}

// bindToParent sets this process's parent-death signal to SIGTERM and checks
// that the parent has not ended before. "ppid is 1" would be no test: the parent
// may be PID 1, and a subreaper may adopt. A parent in another PID namespace is 0
// before and after; of its end nothing can be known.
func bindToParent(t *thread, already bool) (err error) {
	t.call()
	t.run(func() {
		err = os.NewSyscallError("prctl PR_SET_PDEATHSIG", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0))
		if now := os.Getppid(); err == nil && now != parentAtStart {
			err = fmt.Errorf("the parent process (%d) has ended already, now it is %d; start this process from one that lives, or set OutliveParent", parentAtStart, now)
		}
		if err != nil && !already {
			_ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
		}
	})
	return err
}
