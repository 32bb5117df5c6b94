// Package exitwatch notices that a child process has exited and leaves its
// status for os/exec to collect.
//
// A second wait for the same child would take the status away from
// [os/exec.Cmd.Wait]. So each system is asked in a way that reaps nothing:
//
//   - Linux: a pidfd, in the Go netpoller; where there are none (before 5.4, or
//     refused by seccomp), waitid(2) with WNOWAIT on a thread;
//   - macOS and the BSDs: kevent(2) with EVFILT_PROC and NOTE_EXIT;
//   - Windows: a duplicate of the process handle;
//   - other Unix systems and js/wasm: a poll that sees the end only once somebody
//     has waited for the child;
//   - Plan 9: nothing; the error wraps errors.ErrUnsupported.
//
// It is for strategies, of whatever origin, whose backend's leader is a child of the
// process that installed them.
package exitwatch

import (
	"fmt"
	"os"
)

// Watch returns a channel that is closed when p has exited, reaped or not. p
// must be a child of this process, and must not be waited for before Watch
// returns: until then its PID cannot be given to another process.
func Watch(p *os.Process) (<-chan struct{}, error) {
	exited, err := watch(p)
	if err != nil {
		return nil, fmt.Errorf("watch process %d for its exit: %w", p.Pid, err)
	}
	return exited, nil
}

// closeAfter returns a channel that is closed when wait returns.
func closeAfter(wait func()) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		wait()
	}()
	return c
}
