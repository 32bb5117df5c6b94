package containment

import (
	"os"

	"golang.org/x/sys/unix"
)

// parentGone returns a channel that is closed when the process that was this one's parent at
// its start has ended, if that is wanted, and watches until over is closed. It is nil where the
// parent cannot be watched.
func parentGone(wanted bool, over <-chan struct{}) (<-chan struct{}, error) {
	if !wanted || parentAtStart == 0 { // getppid(2): it is in another PID namespace
		return nil, nil
	}
	fd, err := unix.PidfdOpen(parentAtStart, unix.PIDFD_NONBLOCK)
	if err == unix.EINVAL { // the flag is newer, Linux 5.10
		if fd, err = unix.PidfdOpen(parentAtStart, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	// If it is the parent still, the number was not another's when it was opened.
	if os.Getppid() != parentAtStart {
		if err == nil {
			_ = unix.Close(fd)
		}
		gone := make(chan struct{})
		close(gone)
		return gone, nil
	}
	if err != nil {
		return pollParent(over), nil
	}
	return endOf(fd, over), nil
}

// endOf returns a channel that is closed when the parent has ended, to which fd, a pidfd,
// refers, and closes fd then, or when over is closed.
func endOf(fd int, over <-chan struct{}) <-chan struct{} {
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, _ := f.SyscallConn() // an error only of a nil File
	gone, waited := make(chan struct{}), make(chan struct{})
	go func() {
		err := conn.Read(readable)
		close(waited)
		if err != nil { // over, or the netpoller has refused it
			select {
			case <-pollParent(over):
			case <-over:
				return
			}
		}
		close(gone)
	}()
	go func() {
		select {
		case <-over:
		case <-waited:
		}
		f.Close()
	}()
	return gone
}

// readable reports whether fd can be read without blocking, as a pidfd can once the process
// has ended.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n == 1
		}
	}
}
