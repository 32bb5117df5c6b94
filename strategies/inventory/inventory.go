// Package inventory finds the containments that are alive on this host, and
// ends one.
//
// Nothing is written for it: all is derived from the process table and, on
// Windows, from the names of jobs, so that nothing can be left behind or out of
// date. What the caller may not see is not listed: on Linux, whose executable it
// may not read, proc_pid_exe(5); on Windows, what it may not open, and what runs in
// another user's session.
//
// On other systems every function returns an error that wraps
// errors.ErrUnsupported, never an empty list.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Process names a process for people.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// Containment is one backend of a service, or one contain run.
type Containment struct {
	// ID tells it from every other since boot.
	ID       string
	Strategy string
	Owner    Process
	// Leader is the first process, or the oldest that is left if that has exited.
	Leader Process
	// Processes counts what is alive of the tree.
	Processes int
	Age       time.Duration

	members func() ([]Member, error)
	stop    func(ctx context.Context, grace time.Duration) (left int, err error)
}

// Member is a process of a containment.
type Member struct {
	Process
	// Parent is the PID of its parent, which need not be a member.
	Parent int
	Age    time.Duration
	// Memory is what it holds of the machine's, in bytes: VmRSS, proc_pid_status(5); on
	// Windows its working set. It is 0 if the caller may not see that.
	Memory uint64
}

// Members returns who is alive of c, which [List] has returned, oldest first, and nobody
// that contain itself runs beside them.
func (c Containment) Members() ([]Member, error) {
	if c.members == nil {
		return nil, fmt.Errorf("list the processes of containment %q: %w: List has not returned it", c.ID, errors.ErrUnsupported)
	}
	found, err := c.members()
	if err != nil {
		return nil, fmt.Errorf("list the processes of containment %s: %w", c.ID, err)
	}
	return found, nil
}

// List returns the containments that the caller may see, oldest first.
func List() ([]Containment, error) {
	found, err := list()
	if err != nil {
		return nil, fmt.Errorf("list the containments of this host: %w", err)
	}
	return found, nil
}

// Stop ends c, which List has returned: SIGTERM, and after grace by force; on
// Windows, where a process of another console cannot be asked, at once by force. It
// returns how many processes were left when the deadline after the use of force,
// or ctx, had passed. Every signal goes to a process whose identity was compared
// after its pidfd was opened, or to a cgroup or job whose name is never used again.
func Stop(ctx context.Context, c Containment, grace time.Duration) (left int, err error) {
	if c.stop == nil {
		return 0, fmt.Errorf("stop containment %q: %w: List has not returned it", c.ID, errors.ErrUnsupported)
	}
	if left, err = c.stop(ctx, grace); err != nil {
		return left, fmt.Errorf("stop containment %s: %w", c.ID, err)
	}
	return left, nil
}
