package command

import (
	"fmt"
	"strings"
)

// An alternative is what a service may use in place of contain, and what a tree of three
// leaves behind with it: the first process, its child, and a daemon.
type alternative struct {
	name string
	// launcher stands before the command, if a launcher is what it is. "contain" is the
	// static binary.
	launcher []string
	// How many live on after the owner was SIGKILLed, after cmd.Process.Kill, and after
	// the command's own end.
	ownerKilled, processKilled, commandExits int
	loses                                    string
}

var alternatives = []alternative{
	{"`exec.Cmd`", nil, 3, 2, 2, "everything but the first process"},
	{"`Pdeathsig: SIGKILL`", nil, 2, 2, 2, "what the child started; it fires when the *thread* that started it ends; Linux only"},
	{"`Setpgid`, `kill(-pgid)`", nil, 3, 1, 1, "the whole tree if the owner is SIGKILLed, and always what calls `setsid`; ^C of the terminal"},
	{"`tini -s --`", []string{"tini", "-s", "--"}, 4, 3, 2, "all of it when tini or its owner is killed; it is made for PID 1"},
	{"`bwrap --die-with-parent --unshare-pid`", []string{"bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--die-with-parent", "--"}, 0, 0, 0,
		"the host's PIDs and setuid programs; SIGTERM is not passed on, and ends nothing in order; Linux only"},
	{"`contain run --`", []string{"contain", "run", "--"}, 0, 0, 0, "what others start for it: see [Limits](.docs/limits.md)"},
	{"contain in the service", nil, 0, 0, 0, "the same"},
}

// systemdRun is not tried: it needs a systemd, which knows nothing of the caller. The facts
// are of systemd-run(1) and systemd.kill(5).
const systemdRun = "| `systemd-run --user --scope` | all | – | all, until the scope is stopped | it needs systemd and its D-Bus; the scope outlives its caller |\n"

// alternativesTable is for README.
func alternativesTable() string {
	var b strings.Builder
	b.WriteString("| | owner is SIGKILLed | `cmd.Process.Kill` | command exits | what it loses |\n|---|---|---|---|---|\n")
	cell := func(n int) string {
		if n == 0 {
			return "**none**"
		}
		return fmt.Sprint(min(n, 3)) // the launcher itself is none of the three
	}
	for _, a := range alternatives {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", a.name, cell(a.ownerKilled), cell(a.processKilled), cell(a.commandExits), a.loses)
		if strings.Contains(a.name, "Setpgid") {
			b.WriteString(systemdRun)
		}
	}
	return b.String()
}
