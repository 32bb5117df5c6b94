// Package linux holds the containment strategies for Linux and registers them
// with registry.Default. It imports, lists and describes itself on every system;
// elsewhere Install returns an error that wraps errors.ErrUnsupported.
//
// # linux/cgroup
//
// Each backend is born in a cgroup of its own, and one supervisor per service
// kills the service's cgroup when the service is gone. See [Cgroup].
//
// # linux/subreaper
//
// Each backend runs below a supervisor, a child subreaper that nothing below it
// can leave. See [Subreaper], and the table of what an exec.Cmd may carry there.
//
// # linux/pidns
//
// Each backend runs in a PID namespace of its own, which the kernel ends with
// this process. Opt-in. See [Pidns].
//
// # linux/autokill
//
// As linux/pidns, but tied to this process by a pidfd instead of a signal: Linux 7.1.
// Opt-in. See [Autokill].
//
// # linux/pdeathsig
//
// Each backend is forked with a parent-death signal by one OS thread that lives
// as long as the process. See [Pdeathsig].
//
// # What all do to this process
//
// Install sets PR_SET_PDEATHSIG(2const) to SIGTERM for this process, unless
// InstallOptions.OutliveParent is set: when its parent ends, it gets SIGTERM. The
// setting belongs to a thread, so one OS thread is locked for good to hold it.
package linux

import "github.com/seed329817d7/contain/registry"

func init() {
	registry.Default().MustRegister(Cgroup())
	registry.Default().MustRegister(Subreaper())
	registry.Default().MustRegister(Pdeathsig())
	registry.Default().MustRegister(Pidns())
	registry.Default().MustRegister(Autokill())
}

const (
	tracedLimit = "a supervisor that somebody traces (gdb -p, ptrace(2)) ends nothing until its tracer lets it go on"
	// statusLimit: of 200 runs of true whose output was read to its end before
	// cmd.Process.Kill, cmd.Wait lost some 165 under linux/subreaper and 190 under
	// linux/pidns, on two busy cores. The reader sees the end of the output before the
	// supervisor can see that of the leader.
	statusLimit = "who reads a command's output to its end and kills cmd.Process at that moment mostly gets \"signal: killed\" from cmd.Wait; Backend.ExitState, Run and Output have the command's own status"
	groupLimit  = "the process of cmd.Process.Pid is a proxy, in a process group that the service is not in: with Setpgid it leads the command's, so a signal to that group, if no terminal's, reaches the command twice; prlimit(2), ptrace(2) and /proc/PID of that number concern the proxy, Backend.PID and Backend.Pidfd have the command's"
)

// bindLimits are the limits of PR_SET_PDEATHSIG for this process itself.
var bindLimits = []string{
	"this process's own parent-death signal is cleared by exec of a setuid, setgid or file-capability program and by a change of uid, gid or capabilities (PR_SET_PDEATHSIG(2const)); drop privileges before Install",
	"a parent in another PID namespace (getppid() is 0) that ended before Install cannot be told from a living one",
	"a service that replaces itself by exec ends its backends",
}
