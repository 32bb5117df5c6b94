package linux

import (
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
