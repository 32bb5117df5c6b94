// Package plain is the contain run that has no flags, on Linux: all of it, before
// most packages are initialised and before main. See plain_linux.go.
package plain

const (
	// NoGrace: after a SIGTERM nothing is ended by force, unless a flag says so.
	// Whoever has sent it has a timer of his own, or wants none.
	NoGrace = -1
	// MinFiles is how many open files contain run needs: its own, beside the three
	// streams. With less the Go runtime may end the process without a word of ours.
	MinFiles = 20
	// DefaultPath is searched for a command if PATH is not set, as by execvp(3).
	DefaultPath = "/bin:/usr/bin"
	// ExitFailure is contain's own failure.
	ExitFailure = 125
	// ExitSignalBase is what the number of the signal that the command died of is added to.
	ExitSignalBase = 128
)
