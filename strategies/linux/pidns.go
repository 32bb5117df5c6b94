package linux

import (
	"slices"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// PidnsName is the name of the strategy that [Pidns] returns.
const PidnsName = "linux/pidns"

type pidns struct{}

// Pidns returns the strategy linux/pidns: reach tree, by the kernel alone.
//
// The backend runs in a PID namespace of its own, below a small init of ours.
// When a PID namespace's init ends, the kernel kills everything in it,
// pid_namespaces(7). The init has a SIGKILL parent-death signal from the proxy,
// and the proxy one from a thread of this process that lives as long as the
// process: whatever of ours is killed, and be it all at once, the tree goes.
//
// It is opt-in, because the backend sees a difference: other PIDs, a fresh /proc,
// and, under an unprivileged owner, a user namespace in which only its own uid
// and gid exist. An exec.Cmd may carry what it may carry under [Subreaper], except
// that Start refuses a caller whose thread differs as [Pdeathsig] says.
func Pidns() registry.Strategy { return pidns{} }

// Describe implements [registry.Strategy].
func (pidns) Describe() registry.Description {
	d := describeNamespaced(
		"Linux 5.3 and CAP_SYS_ADMIN, or unprivileged user namespaces",
		"under an unprivileged owner it is in a user namespace where only its own uid and gid exist: setuid programs gain nothing, files of others belong to nobody, setgroups is denied",
	)
	d.Name = PidnsName
	d.Summary = "Each backend runs in a PID namespace under an init that the kernel kills with the owner, and everything in the namespace with it."
	return d
}

// describeNamespaced is what linux/pidns and linux/autokill have in common. kernel is what
// they require of it, and ofUser what the backend's user and its owner's have to know.
func describeNamespaced(kernel string, ofUser ...string) registry.Description {
	contract := registry.PidfdContract()
	return registry.Description{
		Platform: registry.PlatformLinux,
		Target:   registry.CleanupLinuxParentDeathSignal,
		Guarantees: []registry.Guarantee{
			{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventBothKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventSupervisorKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventLeaderExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline},
			{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
		},
		Requires: []string{
			kernel,
			"a /proc that may be mounted anew: in a container, one that is not masked",
			"an executable that may start itself again: not a c-shared, c-archive or plugin build (or InstallOptions.Supervisor)",
		},
		Limits: slices.Concat([]string{
			"the backend sees other PIDs than its owner does, and a fresh /proc",
		}, ofUser, []string{
			"a process in uninterruptible sleep, or in a frozen cgroup, ends when it leaves that state",
			statusLimit + "; before Linux 6.15 it may be unknown",
			groupLimit,
			"work asked of others (systemd-run, dockerd, at, cron) was never in the namespace",
			"what a leader leaves cannot be let go, nor waited for but by contain run",
		}, bindLimits),
		Supervisor: &contract,
		OptIn:      true,
	}
}

// Target implements [registry.Strategy].
func (pidns) Target() registry.Cleanup { return registry.CleanupLinuxParentDeathSignal }
