package entry

import "unsafe"

// System calls for a process without a Go runtime. Each function here and in the
// files beside it is nosplit, so that none can grow the stack (the linker checks
// the depth), norace, and allocates nothing; none writes a pointer, so none meets
// the garbage collector's write barrier. What the kernel fills in has its room
// with the caller, to keep the stack short.

//go:nosplit
//go:norace
func closeFD(fd int) {
	if fd >= 0 {
		sys(_SYS_CLOSE, uintptr(fd), 0, 0, 0, 0)
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
	return sys(_SYS_PPOLL, uintptr(unsafe.Pointer(fds)), uintptr(n), tsp, 0, 0)
}

// nowMillis is the monotonic clock. ts is room for it.
//
//go:nosplit
//go:norace
func nowMillis(ts *timespec) int64 {
	sys(_SYS_CLOCK_GETTIME, _CLOCK_MONOTONIC, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	return int64(ts[0])*1000 + int64(ts[1])/1e6
}

// kernelSigaction is the kernel's struct sigaction, which is not libc's. The
// handler comes first on every architecture that Go supports but mips, and a
// mask follows somewhere; the last word is room for architectures without restorer.
type kernelSigaction struct {
	Handler  uintptr
	Flags    uintptr
	Restorer uintptr
	Mask     uint64
	_        uint64
}

const (
	sigDfl = 0
	sigIgn = 1
	// NumSig is the largest number of a signal.
	NumSig = 64
)

// disposition returns the handler of sig. act is room for it.
//
//go:nosplit
//go:norace
func disposition(sig int, act *kernelSigaction) uintptr {
	sys(_SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(act)), 8, 0)
	return act.Handler
}

// setDisposition sets the handler of sig. act is room for it.
//
//go:nosplit
//go:norace
func setDisposition(sig int, handler uintptr, act *kernelSigaction) {
	*act = kernelSigaction{Handler: handler}
	sys(_SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), 0, 8, 0)
}

// setMask sets this thread's blocked signals and returns the old set. Bit n-1
// stands for signal n.
//
//go:nosplit
//go:norace
func setMask(mask uint64) (old uint64) {
	sys(_SYS_RT_SIGPROCMASK, _SIG_SETMASK, uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&old)), 8, 0)
	return old
}

//go:nosplit
//go:norace
func exit(code int) {
	for {
		sys(_SYS_EXIT_GROUP, uintptr(code), 0, 0, 0, 0)
	}
}

// poke writes a byte to an address that the kernel has given, and peek reads one.
//
//go:nosplit
//go:norace
//go:nocheckptr
func poke(at uintptr, c byte) { **(**byte)(unsafe.Pointer(&at)) = c }

//go:nosplit
//go:norace
//go:nocheckptr
func peek(at uintptr) byte { return **(**byte)(unsafe.Pointer(&at)) }

// word reads the word at an address.
//
//go:nosplit
//go:norace
//go:nocheckptr
func word(at uintptr) uintptr { return **(**uintptr)(unsafe.Pointer(&at)) }

// word32 reads the 32 bits at an address.
//
//go:nosplit
//go:norace
//go:nocheckptr
func word32(at uintptr) uint32 { return **(**uint32)(unsafe.Pointer(&at)) }

// number reads a decimal number, -1 if there is none.
//
//go:nosplit
//go:norace
func number(at uintptr) int {
	n := -1
	for c := peek(at); c >= '0' && c <= '9' && n < 1<<30; c = peek(at) {
		n = max(n, 0)*10 + int(c-'0')
		at++
	}
	return n
}

// putText copies a text to an address and returns that of the NUL behind it.
//
//go:nosplit
//go:norace
func putText(at uintptr, text *byte) uintptr {
	for from := uintptr(unsafe.Pointer(text)); ; from++ {
		c := peek(from)
		poke(at, c)
		if c == 0 {
			return at
		}
		at++
	}
}

// textLen is the length of a text that ends with a NUL.
//
//go:nosplit
//go:norace
func textLen(at uintptr) int {
	n := 0
	for peek(at+uintptr(n)) != 0 {
		n++
	}
	return n
}
