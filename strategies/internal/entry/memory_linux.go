package entry

import "unsafe"

var (
	scoreFile = [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 'o', 'o', 'm', '_', 's', 'c', 'o', 'r', 'e', '_', 'a', 'd', 'j', 0}
	never     = [...]byte{'-', '1', '0', '0', '0'}
	zeroScore = [...]byte{'0'}
)

// outlive has the kernel end others before this process when memory runs out: the backend
// and its owner may want to be the first, and who ends what they leave must be
// there then. Without CAP_SYS_RESOURCE a score cannot be lower than that of who had it,
// proc_pid_oom_score_adj(5); one above 0 can become 0, if it was raised without.
//
// The leader, which is the only child that this process forks, has been forked before, and
// has executed its command: it keeps the score that it was given.
//
//go:nosplit
//go:norace
func (r *Supervisor) outlive() {
	if r.outlives {
		return
	}
	r.outlives = true
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&scoreFile[0])), _O_RDWR|_O_CLOEXEC, 0, 0)
	if fd < 0 {
		return
	}
	if sys(_SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&never[0])), uintptr(len(never)), 0, 0) < 0 &&
		sys(_SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&r.buf[0])), 1, 0, 0) == 1 && r.buf[0] != '-' {
		sys(_SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&zeroScore[0])), uintptr(len(zeroScore)), 0, 0)
	}
	closeFD(fd)
}
