package drill

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A thousand starts of a Go program would take as many seconds and gigabytes, and
// a chain of them would crawl. So a crowd and a chain are forks without exec:
// single-threaded processes without a Go runtime that make system calls only.
// Everything they run is nosplit and norace, and every signal that can be is blocked.

// rawRecord is the report that they write.
var rawRecord [recordSize]byte

// startCrowd forks n processes, each of which has up to two children.
func startCrowd(n int) error {
	rawRecord = record(shapeCrowd)
	return forkRaw(n)
}

// startChain forks the first of a chain.
func startChain() error {
	rawRecord = record(shapeChain)
	return forkRaw(0)
}

// forkRaw forks the first of a crowd of n or, if n is 0, of a chain.
//
//go:norace
func forkRaw(n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, old := ^uint64(0), uint64(0)
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0)
	pid := fork()
	if pid == 0 && n > 0 {
		crowd(n)
	} else if pid == 0 {
		chain()
	}
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0)
	if pid < 0 {
		return os.NewSyscallError("fork", syscall.Errno(-pid))
	}
	return nil
}

// crowd forks a heap of n processes, of which this is the first, and waits.
//
//go:nosplit
//go:norace
//go:nocheckptr
func crowd(n int) {
	at := 0
	for child := 2*at + 1; child <= 2*at+2 && child < n; child++ {
		switch pid := fork(); {
		case pid == 0:
			at = child
			child = 2 * at // the loop's step makes it the first child
		case pid < 0:
			exit(1)
		}
	}
	tell()
	var b byte
	for sys(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&b)), 1, 0, 0) == -int(unix.EINTR) {
	}
	exit(0)
}

// chainLife bounds the life of a chain, in seconds.
const chainLife = 60

// chain forks its successor and exits, and so does that.
//
//go:nosplit
//go:norace
//go:nocheckptr
func chain() {
	tell()
	end := seconds() + chainLife
	for seconds() < end && !released() {
		if fork() != 0 {
			exit(0)
		}
	}
	exit(0)
}

// released reports whether the driver has ended: standard input has hung up.
//
//go:nosplit
//go:norace
//go:nocheckptr
func released() bool {
	fd := struct {
		fd              int32
		events, revents int16
	}{}
	now := [2]uintptr{}
	return sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&now)), 0, 0) > 0
}

//go:nosplit
//go:norace
func seconds() uintptr {
	ts := [2]uintptr{}
	sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return ts[0]
}

//go:nosplit
//go:norace
func tell() {
	sys(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&rawRecord)), recordSize, 0, 0)
}

//go:nosplit
//go:norace
func fork() int {
	flags := uintptr(unix.SIGCHLD)
	if runtime.GOARCH == "s390x" { // there the stack comes first, clone(2)
		return sys(unix.SYS_CLONE, 0, flags, 0, 0, 0)
	}
	return sys(unix.SYS_CLONE, flags, 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func exit(code int) {
	for {
		sys(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0, 0, 0)
	}
}

// sys makes a system call and returns its result, or -errno.
//
//go:nosplit
//go:norace
//go:nocheckptr
func sys(nr uintptr, a, b, c, d, e uintptr) int {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, d, e, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}
