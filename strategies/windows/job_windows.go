package windows

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
)

const (
	// serviceLimits is the job that this process is in. Breakaway stays possible
	// on request, never silently, for what the service starts by other means.
	serviceLimits = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE |
		windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK |
		windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	// backendLimits is a backend's job. Breakaway is up to the immediate job, so a
	// backend leaves neither this one nor the service's.
	backendLimits = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE |
		windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	// releasedLimits is the job of a backend whose remaining processes are let go.
	releasedLimits = windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
)

// process is all that is in force for this process as a whole, whichever installation came first.
var process = struct {
	binding binding
	watcher watcher
}{watcher: watcher{backends: make(map[uintptr]*backend)}}

// binding is of this process to a job of its own, which happens once.
type binding struct {
	mu      sync.Mutex
	cleanup registry.Cleanup // "" until bound
	// job is never closed: closing it ends this process. The kernel does that when
	// the process has ended otherwise.
	job windows.Handle
}

func install() (registry.Installation, error) {
	cleanup, err := bindService()
	if err != nil {
		return nil, failed("install", err)
	}
	return &installation{cleanup: cleanup}, nil
}

func probe() error {
	if err := sys.resumable(); err != nil {
		return failed("probe", err)
	}
	job, err := newJob(serviceLimits, "")
	if err != nil {
		return failed("probe", err)
	}
	windows.CloseHandle(job) // nothing is in it
	return nil
}

// bindService puts this process into its job, the first time, and returns what
// binds it.
func bindService() (registry.Cleanup, error) {
	binding := &process.binding
	binding.mu.Lock()
	defer binding.mu.Unlock()
	if binding.cleanup != "" {
		return binding.cleanup, nil
	}
	job, err := newJob(serviceLimits, "")
	if err != nil {
		return "", err
	}
	if err = sys.assign(job, windows.CurrentProcess()); err == nil {
		binding.job, binding.cleanup = job, registry.CleanupWindowsKillOnJobClose
		return binding.cleanup, nil
	}
	windows.CloseHandle(job) // nothing is in it
	if !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return "", fmt.Errorf("%w: AssignProcessToJobObject of this process: %w", registry.ErrJobAssign, err)
	}
	already, queryErr := sys.inJob(windows.CurrentProcess(), 0)
	if queryErr != nil || !already {
		return "", fmt.Errorf("%w: AssignProcessToJobObject of this process, which is in no job: %w",
			registry.ErrJobAssign, errors.Join(err, queryErr))
	}
	binding.cleanup = registry.CleanupWindowsAlreadyInJob
	return binding.cleanup, nil
}

// newJob returns a job with these limits and this name, if any.
func newJob(limits uint32, name string) (windows.Handle, error) {
	job, err := sys.createJob(name)
	if err != nil {
		return 0, fmt.Errorf("%w: CreateJobObject: %w", registry.ErrJobCreate, err)
	}
	if err := sys.setLimits(job, limits); err != nil {
		windows.CloseHandle(job)
		return 0, fmt.Errorf("%w: SetInformationJobObject(JobObjectExtendedLimitInformation, %#x): %w", registry.ErrJobCreate, limits, err)
	}
	return job, nil
}

// installation holds the backends that one Install has started.
type installation struct {
	cleanup  registry.Cleanup
	backends backends.Set
}

// Cleanup implements registry.Installation.
func (in *installation) Cleanup() registry.Cleanup { return in.cleanup }

// Start implements registry.Installation.
func (in *installation) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	op := "start " + cmd.Path
	if err := in.backends.Begin(op, JobName); err != nil {
		return nil, err
	}
	defer in.backends.End()
	if err := refused(cmd.SysProcAttr); err != nil {
		return nil, failed(op, err)
	}
	if opts.Breakaway {
		return startOutside(cmd, in.cleanup)
	}
	if err := refusePackaged(cmd); err != nil {
		return nil, failed(op, err)
	}
	if err := opts.RefuseTerm("a job is ended by force only"); err != nil {
		return nil, failed(op, err)
	}
	b, err := newBackend(in, opts)
	if err != nil {
		return nil, failed(op, err)
	}
	if born, err := b.born(cmd); err != nil {
		b.finish()
		return nil, failed(op, err)
	} else if born {
		process.watcher.add(b)
		return b, nil
	}
	if err := b.startSuspended(cmd); err != nil {
		b.finish()
		return nil, err // as exec.Cmd.Start reports it
	}
	if err := b.contain(cmd); err != nil {
		err = errors.Join(err, abandon(cmd))
		b.finish()
		return nil, failed(op, err)
	}
	process.watcher.add(b)
	return b, nil
}

// Close implements registry.Installation.
func (in *installation) Close(ctx context.Context) error { return in.backends.Close(ctx, JobName) }
