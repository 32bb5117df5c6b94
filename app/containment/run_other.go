//go:build !unix

package containment

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// catchSignals starts to receive what can be passed on to a command. On Windows
// SIGTERM is the end of the console, of the session or of the system. Windows
// tells the command as well, and ends both after some seconds (5 for a console) or
// once they have ended; a process that does not ask for SIGTERM would end at once,
// and take along a command that is about to clean up.
// https://learn.microsoft.com/windows/console/handlerroutine#timeouts
func catchSignals(*exec.Cmd) (signals <-chan os.Signal, release func()) {
	caught := make(chan os.Signal, 64)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	return caught, func() { signal.Stop(caught) }
}

// fatalSignal returns 0: no process ends by a signal here.
func fatalSignal(*os.ProcessState) int { return 0 }
