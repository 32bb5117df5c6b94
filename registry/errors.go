package registry

import (
	"errors"
	"fmt"
)

// The conditions that callers tell apart with errors.Is. They come wrapped in
// an [*Error] that says what was attempted and, where there is one, in the
// operating system's own error, which errors.As reaches.
var (
	// ErrParentDeathSignal: PR_SET_PDEATHSIG could not be set, or the parent was
	// gone by the time it was.
	ErrParentDeathSignal = errors.New("parent-death signal not in force")
	// ErrJobCreate: the job object could not be created or configured.
	ErrJobCreate = errors.New("job object not created")
	// ErrJobAssign: a process could not be assigned to its job object.
	ErrJobAssign = errors.New("process not assigned to job object")
	// ErrSupervisor: the supervisor could not be started, or did not report in time.
	ErrSupervisor = errors.New("supervisor not in place")
	// ErrNotPassed: the command asks for something that cannot be passed on to a
	// backend under this strategy.
	ErrNotPassed = errors.New("command attribute not supported")
	// ErrNoStrategy: no strategy qualifies, or none has the name that was asked for.
	ErrNoStrategy = errors.New("no containment strategy")
	// ErrLeft: processes are alive although they were ordered to end.
	ErrLeft = errors.New("processes are left")
	// ErrRunning: the leader has not ended, or its end has not been reported yet.
	ErrRunning = errors.New("the command has not ended")
	// ErrDuplicate: the name is registered already.
	ErrDuplicate = errors.New("strategy registered twice")
	// ErrInvalid: the strategy is nil or its description is not valid.
	ErrInvalid = errors.New("invalid strategy")
	// ErrConflict: another Install has chosen otherwise what concerns the whole
	// process. Only whether it ends with its parent does.
	ErrConflict = errors.New("this process is bound otherwise already")
	// ErrClosed: the installation has been closed.
	ErrClosed = errors.New("containment closed")
)

// Error is the error type of this module: what was attempted, by which
// strategy, and why it failed.
type Error struct {
	Op       string // what was attempted, for example "install" or "start /bin/true"
	Strategy string // name of the strategy, "" where there is none
	Err      error
}

// Error returns "contain: STRATEGY: OP: cause".
func (e *Error) Error() string {
	if e.Strategy == "" {
		return fmt.Sprintf("contain: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("contain: %s: %s: %v", e.Strategy, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
