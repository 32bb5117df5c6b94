package linux

import (
	"time"

	"github.com/seed329817d7/contain/registry"
)

// CgroupName is the name of the strategy that [Cgroup] returns.
const CgroupName = "linux/cgroup"

type cgroup struct{}

// Cgroup returns the strategy linux/cgroup: reach tree, by cgroup.kill.
//
// The service gets one cgroup (version 2) below its own and one supervisor
// outside of it, however many backends it starts. Each backend is born in a
// cgroup of its own (clone3 with CLONE_INTO_CGROUP, Linux 5.7), keeps its own PID
// (cmd.Process is the backend), and has a SIGKILL parent-death signal as a second
// line. The kill is atomic: forks, other uids and stopped processes do not escape
// it. The supervisor's death is noticed and it is replaced; until then Start fails.
//
// SysProcAttr is passed as it is, except that Pdeathsig must be 0 or SIGKILL and
// that UseCgroupFD and Ptrace are refused. Start refuses a caller whose thread
// differs from the one that forks backends, as [Pdeathsig] does.
func Cgroup() registry.Strategy { return cgroup{} }

// cgroupWithin is what the kill of a cgroup takes at the most: it needs no walk.
const cgroupWithin = 2 * time.Second

// stormLimit is about hosts where more runs than there are CPUs for.
const stormLimit = "processes that fork without pause take owner and supervisor the CPU that they need to end and to see it: 1,000 of them on 2 CPUs were gone after 1 to 5 s"

// Describe implements [registry.Strategy].
func (cgroup) Describe() registry.Description {
	contract := registry.PidfdContract()
	return registry.Description{
		Name:     CgroupName,
		Platform: registry.PlatformLinux,
		Summary:  "Each backend is born in a cgroup of its own; one supervisor per service writes cgroup.kill when the owner is gone.",
		Target:   registry.CleanupLinuxParentDeathSignal,
		Guarantees: []registry.Guarantee{
			{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: cgroupWithin},
			{Event: registry.EventBothKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventLeaderExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: cgroupWithin},
			{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: cgroupWithin},
		},
		Requires: []string{
			"a writable cgroup v2 subtree: root outside systemd, a unit with Delegate=yes (of a user's own manager a transient one: systemd-run --user), or a container's own cgroup namespace mounted writable",
			"Linux 5.7 and a seccomp profile that allows clone3; cgroup.kill (Linux 5.14), else freezing and killing one by one",
		},
		Limits: append([]string{
			"a command that reads its own limits (cpu.max, memory.max) finds none in its cgroup, which has no controllers: those of the cgroup above hold, but Go, Java or ninja do not see them; set GOMAXPROCS and the like, or name linux/subreaper",
			"owner and supervisor killed in the same instant leave what is not the leader, until the next Install in that cgroup ends it",
			"while the service is stopped (SIGSTOP) a supervisor that is killed is not replaced: the service's end then leaves the same",
			"a backend that may write to cgroups, such as root's, can move itself out by one write, as runc, cgexec and systemd-run --scope do: linux/subreaper keeps hold of those",
			"the cgroup of a command that made others below it is left, without processes, if contain run is SIGKILLed, until the next contain run or Install there",
			"work asked of others (systemd-run, dockerd, at, cron) was never inside",
			"a process in uninterruptible sleep ends when it leaves that state",
			stormLimit,
			tracedLimit,
			"a SIGKILLed leader that was to be waited for (LeaderExitWait) takes its tree along only if its status is not collected first; else the tree lives until the owner's end",
			"the end of a leader is acted on by the owner: while that is stopped, what the leader left lives on",
			"a leader that executes a setuid, setgid or file-capability program loses the signal that ends it if owner and supervisor die at once",
		}, bindLimits...),
		Supervisor: &contract,
	}
}

// Target implements [registry.Strategy].
func (cgroup) Target() registry.Cleanup { return registry.CleanupLinuxParentDeathSignal }
