package plain

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DieOfInterrupt ends this process by SIGINT if the terminal's ^C ended the
// command, which died of signal, in that way: a shell goes on with its loop if
// contain just exits with 130. A strategy says so by leaving SIGINT at its default action, which neither
// a handler nor an ignored signal has; everything else returns.
func DieOfInterrupt(signal int) {
	if signal != int(unix.SIGINT) || !defaultAction(unix.SIGINT) {
		return
	}
	runtime.LockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGINT)
}

// defaultAction reports whether sig is neither caught nor ignored, by
// /proc/self/status: os/signal does not know of handlers that are not its own.
func defaultAction(sig unix.Signal) bool {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigIgn" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || set&(1<<(uint(sig)-1)) != 0 {
			return false
		}
		seen++
	}
	return seen == 2
}
