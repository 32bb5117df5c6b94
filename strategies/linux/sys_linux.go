package linux

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoStatus reads si_status of a SIGCHLD's siginfo, sigaction(2): it follows
// si_pid and si_uid, which begin where the word-aligned union begins.
func siginfoStatus(info *unix.Siginfo) int32 {
	const head = 3 * 4
	word := unsafe.Sizeof(uintptr(0))
	union := (head + word - 1) / word * word
	return *(*int32)(unsafe.Add(unsafe.Pointer(info), union+2*4))
}

// shutdownWrite ends what the other side reads, and leaves what it writes.
func shutdownWrite(conn syscall.RawConn) {
	_ = conn.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
}

// hungUp reports whether the other end of a socket is closed.
func hungUp(f *os.File) (closed bool) {
	conn, err := f.SyscallConn()
	if err != nil {
		return true
	}
	_ = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, _ := unix.Poll(fds, 0)
		closed = n > 0
	})
	return closed
}

// collectedSIGKILL reports whether the process of a pidfd, whose status somebody
// has collected, died of SIGKILL; known only from Linux 6.15 on, PIDFD_GET_INFO
// in ioctl_pidfd(2).
func collectedSIGKILL(pidfd int) (killed, known bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return false, false
	}
	return unix.WaitStatus(info.Exit_code).Signal() == unix.SIGKILL, true
}
