//go:build !linux

package plain

// DieOfInterrupt returns: no strategy here tells a terminal's ^C from another SIGINT.
func DieOfInterrupt(signal int) {}
