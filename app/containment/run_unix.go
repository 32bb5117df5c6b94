//go:build unix

package containment

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// passedOn are the signals that mean something to the command. Not among them:
// what only the kernel or the Go runtime raises (URG, CHLD, PIPE, SEGV, ...), what
// cannot be caught, and job control (TSTP, TTIN, TTOU, CONT, WINCH), which a
// terminal and a shell send to the whole process group.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGALRM,
	syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGIO, syscall.SIGVTALRM,
}

// catchSignals starts to receive the signals to be passed on to cmd. Those that
// this process was started to ignore stay ignored (nohup). The terminal sends INT
// and QUIT to cmd itself if both are in one process group: then they are caught,
// so that this process outlives cmd, but not delivered.
func catchSignals(cmd *exec.Cmd) (signals <-chan os.Signal, release func()) {
	caught, dropped := make(chan os.Signal, 64), make(chan os.Signal, 1)
	shared := sharesTerminal(cmd)
	for _, sig := range passedOn {
		if signal.Ignored(sig) {
			continue
		}
		if shared && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) {
			signal.Notify(dropped, sig)
		} else {
			signal.Notify(caught, sig)
		}
	}
	return caught, func() {
		signal.Stop(caught)
		signal.Stop(dropped)
	}
}

// sharesTerminal reports whether this process has a controlling terminal, see
// tty(4), and cmd will be in its process group.
func sharesTerminal(cmd *exec.Cmd) bool {
	if a := cmd.SysProcAttr; a != nil && (a.Setsid || a.Setpgid || a.Foreground) {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// parentAtStart is read as early as can be: a parent may end while its child begins.
var parentAtStart = os.Getppid()

// fatalSignal returns the number of the signal that ended the process, or 0.
func fatalSignal(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal())
	}
	return 0
}
