package linux

import (
	"time"

	"github.com/seed329817d7/contain/registry"
)

// SubreaperName is the name of the strategy that [Subreaper] returns.
const SubreaperName = "linux/subreaper"

type subreaper struct{}

// Subreaper returns the strategy linux/subreaper: reach tree, unprivileged.
//
// cmd.Process is a thin proxy (this executable started again, named
// contain-supervisor); the supervisor below it is a child subreaper and the
// leader's parent. Killing cmd.Process, cancelling a CommandContext and killing
// the process group that Setpgid made end the whole tree. cmd.Wait returns when
// the leader has exited and, with registry.LeaderExitKill, the rest is gone.
//
// The proxy begins in package initialisation: the packages whose import path
// sorts before this module's, and what they import, are initialised in it, too;
// the others and main are not.
//
// What an exec.Cmd may carry:
//
//	Stdin, Stdout, Stderr    passed; the supervisor keeps no copy after the leader's exec
//	ExtraFiles               passed
//	Path, Args (Args[0])     passed
//	Env, Dir                 passed; neither is the supervisor's own
//	Cancel, WaitDelay        os/exec's own; Process.Kill ends the tree
//	open-files soft limit    the one this process was started with, as with os/exec
//	signals that are ignored passed, as with os/exec
//	SysProcAttr.Chroot       passed
//	  Credential             passed
//	  AmbientCaps            passed
//	  Setsid                 passed; signals sent to cmd.Process reach the leader's process group
//	  Setpgid, Pgid          passed; the group's number is cmd.Process.Pid (or Pgid), the leader is a member
//	  Foreground, Ctty       passed
//	  Setctty, Noctty        passed
//	  Pdeathsig              SIGKILL is in force anyway; any other is refused
//	  Cloneflags             the namespaces are passed, but CLONE_NEWUSER and CLONE_NEWTIME are refused
//	  Unshareflags           passed, but CLONE_NEWUSER is refused
//	  UseCgroupFD, CgroupFD  passed; the supervisor is in that cgroup, too
//	  PidFD                  set, to a pidfd of cmd.Process
//	  Ptrace                 refused: the tracer would be the supervisor
//	  Uid/GidMappings        refused
//
// SIGSTOP cannot be forwarded: sent to cmd.Process it stops the proxy alone; send
// it through the backend's Signal.
func Subreaper() registry.Strategy { return subreaper{} }

// Describe implements [registry.Strategy].
func (subreaper) Describe() registry.Description {
	contract := registry.PidfdContract()
	return registry.Description{
		Name:     SubreaperName,
		Platform: registry.PlatformLinux,
		Summary:  "Each backend runs below a supervisor that is a child subreaper, watches the owner by pidfd and kills until wait says that nothing is left.",
		Target:   registry.CleanupLinuxParentDeathSignal,
		Guarantees: []registry.Guarantee{
			{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline},
			{Event: registry.EventBothKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventSupervisorKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline},
			{Event: registry.EventLeaderExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline},
			{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline},
		},
		Requires: []string{
			"Linux 3.5 with CONFIG_PROC_CHILDREN and /proc mounted; pidfd_open (Linux 5.3) where there is one, else a lifeline",
			"an executable that may start itself again: not a c-shared, c-archive or plugin build (or InstallOptions.Supervisor)",
		},
		Limits: append([]string{
			"owner and supervisor killed in the same instant leave what is not the leader",
			"supervisors lower their oom_score_adj where they may; without CAP_SYS_RESOURCE one that was raised with it stays, and out of memory the kernel may take owner and supervisor together",
			"with on-leader-exit wait, a supervisor that is killed after the leader's end leaves the rest, but for contain run",
			"a process that gained privileges which the supervisor lacks (a setuid program under an unprivileged service) cannot be killed by it",
			"a process in uninterruptible sleep, or in a frozen cgroup, ends when it leaves that state",
			stormLimit,
			tracedLimit,
			statusLimit,
			groupLimit,
			"work asked of others (systemd-run, dockerd, at, cron) was never below the supervisor",
			"a leader that executes a setuid, setgid or file-capability program loses the signal that ends it if owner and supervisor die at once",
		}, bindLimits...),
		Supervisor: &contract,
	}
}

// Target implements [registry.Strategy].
func (subreaper) Target() registry.Cleanup { return registry.CleanupLinuxParentDeathSignal }
