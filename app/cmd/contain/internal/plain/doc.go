// Package plain is the contain run that has no flags, on Linux: all of it, before
// most packages are initialised and before main. See plain_linux.go.
package plain

import "time"

const (
	// DefaultGrace is containment's.
	DefaultGrace = 5 * time.Second
	// MinFiles is how many open files contain run needs: its own, beside the three
	// streams. With less the Go runtime may end the process without a word of ours.
	MinFiles = 20
	// ExitFailure is contain's own failure.
	ExitFailure = 125
	// ExitSignalBase is what the number of the signal that the command died of is added to.
	ExitSignalBase = 128
)

// Grace is how long after a SIGTERM what is left is ended by force, if no flag says
// so, by a process with this PID. The process 1 of a container is told to stop by a
// runtime that has a timer of its own, often a longer one: there is none of ours.
func Grace(pid int) time.Duration {
	if pid == 1 {
		return -1
	}
	return DefaultGrace
}
