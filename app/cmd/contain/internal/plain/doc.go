// Package plain is the contain run that has no flags, on Linux: all of it, before
// most packages are initialised and before main. See plain_linux.go.
package plain

import "runtime"

const (
	// NoGrace: after a SIGTERM nothing is ended by force, unless a flag says so.
	// Whoever has sent it has a timer of his own, or wants none.
	NoGrace = -1
	// MinFiles is how many open files contain run needs: its own, beside the three
	// streams. With less the Go runtime may end the process without a word of ours.
	MinFiles = 20
	// DefaultPath is searched for a command if PATH is not set, as by execvp(3).
	DefaultPath = "/bin:/usr/bin"
)

// The exit codes of contain itself, as those of nohup, env and timeout (POSIX,
// "Exit Status" of env; GNU coreutils manual, "timeout invocation").
const (
	ExitFailure       = 125
	ExitNotExecutable = 126
	ExitNotFound      = 127
	ExitSignalBase    = 128 // and the number of the signal that the command died of
)

// ExitCode is that of contain, after its command has ended by a signal, or if that is 0,
// with a code; it is ExitFailure if ok is false, since nothing is known of its end.
func ExitCode(code, signal int) (_ int, ok bool) {
	switch {
	case signal > 0:
		return ExitSignalBase + signal, true
	case code < 0 && runtime.GOOS != "windows": // where os.Exit takes all 32 bits
		return ExitFailure, false
	}
	return code, true
}
