//go:build !unix

package containment

import (
	"os"
	"os/exec"
	"os/signal"
)

// catchSignals starts to receive what can be passed on to a command.
func catchSignals(*exec.Cmd) (signals <-chan os.Signal, release func()) {
	caught := make(chan os.Signal, 64)
	signal.Notify(caught, os.Interrupt)
	return caught, func() { signal.Stop(caught) }
}

// fatalSignal returns 0: no process ends by a signal here.
func fatalSignal(*os.ProcessState) int { return 0 }
