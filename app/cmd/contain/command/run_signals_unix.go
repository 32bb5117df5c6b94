//go:build unix

package command

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxExitCode is the largest that wait(2) gives.
const maxExitCode = 255

// The real-time signals of Linux as the C library counts them, signal(7).
const realTimeMin, realTimeMax = 34, 64

// signalNumber returns the number of a signal by its name without SIG, or 0.
func signalNumber(name string) syscall.Signal {
	if runtime.GOOS == "linux" {
		if offset, ok := strings.CutPrefix(name, "RTMIN"); ok {
			return realTimeSignal(realTimeMin, offset)
		}
		if offset, ok := strings.CutPrefix(name, "RTMAX"); ok {
			return realTimeSignal(realTimeMax, offset)
		}
	}
	return unix.SignalNum("SIG" + name)
}

// realTimeSignal reads what follows RTMIN or RTMAX: nothing, +N or -N.
func realTimeSignal(base int, offset string) syscall.Signal {
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil || offset[0] != '+' && offset[0] != '-' {
			return 0
		}
	}
	if base += n; base < realTimeMin || base > realTimeMax {
		return 0
	}
	return syscall.Signal(base)
}

// notPassedOn returns why contain never passes sig on, "" if it does.
func notPassedOn(sig syscall.Signal) string {
	byAll := runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64")
	switch sig {
	case 0:
		return "is none"
	case unix.SIGKILL, unix.SIGSTOP:
		return "cannot be caught"
	case unix.SIGCHLD:
		return "is about contain itself and not passed on"
	}
	if runtime.GOOS == "linux" && (sig == 32 || sig == 33) {
		return "is the C library's own"
	}
	if byAll {
		return ""
	}
	switch sig {
	case unix.SIGURG, unix.SIGPIPE, unix.SIGPROF:
		return "is about contain itself and not passed on"
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS:
		return "says that contain itself has failed and is not passed on"
	}
	return ""
}
