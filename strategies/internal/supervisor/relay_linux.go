package supervisor

import "golang.org/x/sys/unix"

// relayed reports whether the proxy passes sig on. Not those that cannot be
// caught, that report a fault of the proxy's own, or that belong to it: URG and
// PROF are the Go runtime's, CHLD is about the supervisor, PIPE about a write.
func relayed(sig unix.Signal) bool {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGPROF,
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS,
		32, 33: // the C library's
		return false
	}
	return true
}

// IgnoredSignals returns the set of signals that this process ignores, bit n-1
// for signal n: what a command it starts would ignore, too. Of what was ignored
// when the process started, the Go runtime leaves only SIGHUP and SIGINT in place.
func IgnoredSignals() uint64 {
	var set uint64
	var act kernelSigaction
	for sig := 1; sig <= numSig; sig++ {
		if disposition(sig, &act) == sigIgn {
			set |= 1 << (uint(sig) - 1)
		}
	}
	return set
}

// forRelayed calls f for every signal that is passed on, but for the ignored.
func forRelayed(ignored uint64, f func(sig int)) {
	for sig := 1; sig <= numSig; sig++ {
		if relayed(unix.Signal(sig)) && ignored&(1<<(uint(sig)-1)) == 0 {
			f(sig)
		}
	}
}
