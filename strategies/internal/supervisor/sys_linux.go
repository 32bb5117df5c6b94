package supervisor

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls for a process without a Go runtime. Each function here and in
// raw_linux.go is nosplit, so that none can grow the stack (the linker checks
// the depth), norace, and allocates nothing; none writes a pointer, so none meets
// the garbage collector's write barrier. What the kernel fills in has its room
// with the caller, to keep the stack short.

// sys makes a system call and returns its result, or -errno.
//
//go:nosplit
//go:norace
//go:nocheckptr
func sys(nr, a, b, c, d, e uintptr) int {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, d, e, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

// fork is fork(2) with clone flags: 0 in the child, its PID in the parent, or -errno.
//
//go:nosplit
//go:norace
func fork(flags uintptr) int {
	flags |= uintptr(unix.SIGCHLD)
	if runtime.GOARCH == "s390x" { // CONFIG_CLONE_BACKWARDS2: the stack comes first
		return sys(unix.SYS_CLONE, 0, flags, 0, 0, 0)
	}
	return sys(unix.SYS_CLONE, flags, 0, 0, 0, 0)
}

//go:nosplit
//go:norace
func closeFD(fd int) {
	if fd >= 0 {
		sys(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
func writeMessage(fd int, op Op, a, b uint32) {
	if fd < 0 {
		return
	}
	raw.out = Message{Op: op, A: a, B: b}
	m := &raw.out
	// sendto, not write: a peer that has gone must not raise SIGPIPE. A full or
	// closed channel is the reader's loss; the supervisor never waits for it.
	if sys(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(m)), MessageSize, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0) == -int(unix.ENOTSOCK) {
		sys(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(m)), MessageSize, 0, 0)
	}
}

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// timespec is the kernel's struct of seconds and nanoseconds, a word each.
type timespec [2]uintptr

// poll waits up to ms milliseconds, forever if ms is negative. ts is room for it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func poll(fds *pollFD, n int, ms int, ts *timespec) int {
	ts[0], ts[1] = uintptr(ms)/1000, uintptr(ms)%1000*1e6
	tsp := uintptr(unsafe.Pointer(ts))
	if ms < 0 {
		tsp = 0
	}
	return sys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fds)), uintptr(n), tsp, 0, 0)
}

// nowMillis is the monotonic clock. ts is room for it.
//
//go:nosplit
//go:norace
func nowMillis(ts *timespec) int64 {
	sys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return int64(ts[0])*1000 + int64(ts[1])/1e6
}

// kernelSigaction is the kernel's struct sigaction, which is not libc's. The
// handler comes first on every architecture that Go supports but mips, and a
// mask follows somewhere; the last word is room for architectures without restorer.
type kernelSigaction struct {
	handler  uintptr
	flags    uintptr
	restorer uintptr
	mask     uint64
	_        uint64
}

const (
	sigDfl = 0
	sigIgn = 1
	numSig = 64
)

// disposition returns the handler of sig. act is room for it.
//
//go:nosplit
//go:norace
func disposition(sig int, act *kernelSigaction) uintptr {
	sys(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(act)), 8, 0)
	return act.handler
}

// setDisposition sets the handler of sig. act is room for it.
//
//go:nosplit
//go:norace
func setDisposition(sig int, handler uintptr, act *kernelSigaction) {
	*act = kernelSigaction{handler: handler}
	sys(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), 0, 8, 0)
}

// setMask sets this thread's blocked signals and returns the old set. Bit n-1
// stands for signal n.
//
//go:nosplit
//go:norace
func setMask(mask uint64) (old uint64) {
	sys(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&old)), 8, 0)
	return old
}

//go:nosplit
//go:norace
func exit(code int) {
	for {
		sys(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0, 0, 0)
	}
}
