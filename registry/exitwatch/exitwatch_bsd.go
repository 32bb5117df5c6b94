//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package exitwatch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watch uses one kqueue and one blocked thread for each child. A kqueue is not
// inherited by fork, kqueue(2).
func watch(p *os.Process) (<-chan struct{}, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return nil, fmt.Errorf("kqueue: %w", err)
	}
	change := make([]unix.Kevent_t, 1)
	unix.SetKevent(&change[0], p.Pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change[0].Fflags = unix.NOTE_EXIT
	_, err = ignoringEINTR(func() (int, error) { return unix.Kevent(kq, change, nil, nil) })
	if err == unix.ESRCH { // it has exited already; some kernels do not find zombies
		unix.Close(kq)
		return closeAfter(func() {}), nil
	}
	if err != nil {
		unix.Close(kq)
		return nil, fmt.Errorf("kevent EVFILT_PROC NOTE_EXIT: %w", err)
	}
	return closeAfter(func() {
		defer unix.Close(kq)
		events := make([]unix.Kevent_t, 1)
		_, _ = ignoringEINTR(func() (int, error) { return unix.Kevent(kq, nil, events, nil) })
	}), nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}
