package exitwatch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func watch(p *os.Process) (<-chan struct{}, error) {
	pidfd, err := openPidfd(p)
	if errors.Is(err, os.ErrProcessDone) {
		return closeAfter(func() {}), nil
	}
	if err != nil {
		return closeAfter(func() { waitNoReap(p.Pid) }), nil
	}
	// With O_NONBLOCK set, NewFile hands the descriptor to the netpoller, so that
	// a watch costs a goroutine and no thread.
	f := os.NewFile(uintptr(pidfd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return closeAfter(func() {
		defer f.Close()
		if err := conn.Read(exited); err != nil {
			waitNoReap(p.Pid) // the netpoller refused it
		}
	}), nil
}

// openPidfd returns a pidfd of p that is not the one that os holds: that one
// must stay blocking, because O_NONBLOCK on a pidfd turns a wait into EAGAIN,
// and a duplicate shares the flag.
func openPidfd(p *os.Process) (fd int, err error) {
	fd = -1
	handleErr := p.WithHandle(func(handle uintptr) {
		if fd, err = unix.PidfdOpen(p.Pid, 0); err != nil {
			return
		}
		// p may have been reaped, and its PID given away, before the open. If
		// its own pidfd still says that it runs, it had not.
		if exited(handle) {
			err = os.ErrProcessDone
		} else {
			err = unix.SetNonblock(fd, true) // PIDFD_NONBLOCK is newer: 5.10
		}
	})
	if err == nil {
		err = handleErr
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return fd, err
}

// exited reports whether a pidfd polls readable, as it does once the process
// is a zombie or gone, pidfd_open(2).
func exited(pidfd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// waitNoReap blocks a thread until the child pid has exited or been reaped.
func waitNoReap(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
