package supervisor

import (
	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// The handlers of package entry.
const (
	sigDfl = 0
	sigIgn = 1
)

// relayed reports whether the proxy passes sig on. Not those that cannot be
// caught, and CHLD, which is about the supervisor.
func relayed(sig unix.Signal) bool {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, 32, 33: // the last are the C library's
		return false
	}
	return relaysOthers || !ownFault(sig)
}

// ownFault reports whether sig may be about this process itself: a fault of its own,
// a write to a pipe that nobody reads, or the Go runtime's URG and PROF.
func ownFault(sig unix.Signal) bool {
	switch sig {
	case unix.SIGURG, unix.SIGPIPE, unix.SIGPROF,
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		return true
	}
	return false
}

// relayedSet is the set of the signals that are passed on, bit n-1 for signal n.
func relayedSet(ignored uint64) (set uint64) {
	forRelayed(ignored, func(sig int) { set |= 1 << (uint(sig) - 1) })
	return set
}

// IgnoredSignals returns the set of signals that this process ignores, bit n-1
// for signal n: what a command it starts would ignore, too. Of what was ignored
// when the process started, the Go runtime leaves only SIGHUP and SIGINT in place.
func IgnoredSignals() (set uint64) {
	for sig := 1; sig <= entry.NumSig; sig++ {
		set |= bitIfIgnored(sig)
	}
	return set
}

// IgnoredFromStart is IgnoredSignals for a process that has not changed what it
// ignores since it was started. It asks about those for which the Go runtime has no
// handler, or leaves none: sigtable in runtime/sigtab_linux_generic.go.
func IgnoredFromStart() (set uint64) {
	for _, sig := range [...]unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, 32, 34} {
		set |= bitIfIgnored(int(sig))
	}
	return set
}

func bitIfIgnored(sig int) uint64 {
	if entry.HandlerOf(sig) != sigIgn {
		return 0
	}
	return 1 << (uint(sig) - 1)
}

// forRelayed calls f for every signal that is passed on, but for the ignored.
func forRelayed(ignored uint64, f func(sig int)) {
	for sig := 1; sig <= entry.NumSig; sig++ {
		if relayed(unix.Signal(sig)) && ignored&(1<<(uint(sig)-1)) == 0 {
			f(sig)
		}
	}
}
