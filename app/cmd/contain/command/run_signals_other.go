//go:build !unix

package command

import (
	"math"
	"syscall"
)

// maxExitCode is the largest that fits an int everywhere; Windows has 32 bits.
const maxExitCode = math.MaxInt32

// signalNumber returns the number that package syscall gives a signal, by its
// name without SIG, or 0. Only the interrupt is ever received here.
func signalNumber(name string) syscall.Signal {
	switch name {
	case "INT":
		return syscall.SIGINT
	case "QUIT":
		return syscall.SIGQUIT
	case "KILL":
		return syscall.SIGKILL
	case "TERM":
		return syscall.SIGTERM
	}
	return 0
}

// notPassedOn returns why contain never passes sig on, "" if it does.
func notPassedOn(sig syscall.Signal) string {
	switch sig {
	case 0:
		return "is none"
	case syscall.SIGKILL:
		return "cannot be caught"
	}
	return ""
}
