//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package containment

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// parentGone returns a channel that is closed when the process that was this one's
// parent at its start has exited, if that is wanted. A debugger that attaches becomes
// the parent meanwhile, ptrace(2), and is no reason to end; so the parent is watched by
// kevent(2), and getppid only tells what happened before that.
func parentGone(wanted bool, over <-chan struct{}) (<-chan struct{}, error) {
	if !wanted {
		return nil, nil
	}
	gone := make(chan struct{})
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("watch the parent process %d: kqueue: %w", parentAtStart, err)
	}
	unix.CloseOnExec(kq)
	change := make([]unix.Kevent_t, 1)
	unix.SetKevent(&change[0], parentAtStart, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change[0].Fflags = unix.NOTE_EXIT
	_, err = retried(func() (int, error) { return unix.Kevent(kq, change, nil, nil) })
	switch {
	case err == unix.ESRCH || err == nil && os.Getppid() != parentAtStart: // its PID may be another's by now
		unix.Close(kq)
		close(gone)
		return gone, nil
	case err != nil:
		unix.Close(kq)
		return nil, fmt.Errorf("watch the parent process %d: kevent: %w", parentAtStart, err)
	}
	go func() {
		defer unix.Close(kq)
		if awaitExit(kq, over) {
			close(gone)
		}
	}()
	return gone, nil
}

// lookAgain is how long a parent's exit may go unnoticed that is not reported: that of
// a traced process is reported to its tracer alone.
const lookAgain = 200 * 1e6 // ns

// awaitExit reports true when the parent has exited, and false when it does not matter
// any more.
func awaitExit(kq int, over <-chan struct{}) bool {
	got := make([]unix.Kevent_t, 1)
	for {
		pause := unix.NsecToTimespec(lookAgain)
		n, err := retried(func() (int, error) { return unix.Kevent(kq, nil, got, &pause) })
		select {
		case <-over:
			return false
		default:
		}
		switch {
		case n > 0:
			return true
		case err != nil, os.Getppid() != parentAtStart && unix.Kill(parentAtStart, 0) == unix.ESRCH:
			return os.Getppid() != parentAtStart
		}
	}
}

func retried(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}
