// Package darwin holds the containment strategy for macOS and registers it with
// registry.Default. It imports, lists and describes itself on every system;
// elsewhere Install returns an error that wraps errors.ErrUnsupported.
//
// # Mechanism
//
// macOS has neither a parent-death signal nor a subreaper nor a namespace. Each
// backend gets a supervisor, the leader's parent, which registers the owner with
// kevent(2) under the contract of registry.BrokerContract. When the owner ends it
// sends SIGKILL to the backend's process group and to the tree, which it has
// walked whenever one of its processes forked or exited.
//
// # Guarantees
//
// When the owner exits or is killed, the leader is gone within 5 s, enforced by the
// supervisor. The rest of the tree is killed as far as the walk has found it, which
// is not promised: a daemon whose parents exit before they are seen is lost. So
// containment.Config's zero value, which wants the tree, fails on macOS; name the
// strategy, or ask for the best effort. Nothing is promised for the case that the
// supervisor is killed.
//
// # Limits
//
// See the Limits of [Kqueue]'s description.
//
// # Supported systems
//
// macOS on amd64 and arm64. It is compiled, vetted and statically checked; it has
// not been run by us. The event loop and the killing are the code that the tests
// run on Linux with real processes.
package darwin

import "github.com/seed329817d7/contain/registry"

// KqueueName is the name of the strategy that [Kqueue] returns.
const KqueueName = "darwin/kqueue"

func init() { registry.Default().MustRegister(Kqueue()) }

type kqueue struct{}

// Kqueue returns the strategy darwin/kqueue: reach child, unprivileged.
//
// cmd.Process is a thin proxy (this executable started again, named
// contain-supervisor). Killing it and cancelling a CommandContext end the leader
// and what was found of the tree; signals sent to it reach the leader. Install changes nothing about this
// process.
//
// What an exec.Cmd may carry:
//
//	Stdin, Stdout, Stderr    passed
//	ExtraFiles               passed; a nil entry is refused
//	Path, Args (Args[0])     passed
//	Env, Dir                 passed; neither is the supervisor's own
//	Cancel, WaitDelay        os/exec's own; Process.Kill ends what was found of the tree
//	signals that are ignored passed
//	SysProcAttr.Chroot       passed
//	  Credential             passed
//	  Setsid                 passed
//	  Setpgid, Pgid          passed; the group's number is cmd.Process.Pid (or Pgid)
//	  Setctty, Noctty, Ctty  passed
//	  Foreground             refused: the supervisor is not in the terminal's session
//	  Ptrace                 refused: the tracer would be the supervisor
func Kqueue() registry.Strategy { return kqueue{} }

// Describe implements [registry.Strategy].
func (kqueue) Describe() registry.Description {
	contract := registry.BrokerContract()
	// Not the tree: run over real processes, the walk lost three daemons of four.
	child := func(e registry.Event) registry.Guarantee {
		return registry.Guarantee{Event: e, Reach: registry.ReachChild, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline}
	}
	return registry.Description{
		Name:     KqueueName,
		Platform: registry.PlatformDarwin,
		Summary:  "Each backend runs below a supervisor that watches the owner by kqueue and kills the process group and what it has found of the tree.",
		Target:   registry.CleanupMacOSKqueueSupervisorContract,
		Guarantees: []registry.Guarantee{
			child(registry.EventOwnerKilled), child(registry.EventOwnerExit),
		},
		Requires: []string{
			"macOS",
			"an executable that may start itself again: not a c-shared, c-archive or plugin build (or InstallOptions.Supervisor)",
		},
		Limits: []string{
			"the tree is killed only as far as it was found: a daemon whose parents all exited before it was seen, and that left the process group, lives on",
			"if the supervisor is killed, alone or with the owner, nothing is promised",
			"macOS has nothing like a pidfd: a process may exit and its PID be reused between the check of its start time and the signal",
			"a process with privileges that the supervisor lacks (a setuid program under an unprivileged service) cannot be killed by it",
			"with SysProcAttr.Setpgid, a signal sent to the group reaches the leader twice: by itself and through the proxy",
			"SIGSTOP cannot be forwarded: sent to cmd.Process it stops the proxy alone",
			"if this executable's file is replaced, later backends get the new one as their supervisor",
			"work asked of others (launchd, at, cron) was never below the supervisor",
		},
		Supervisor: &contract,
		Unproved:   "compiled, vetted and statically checked; not run by us",
	}
}

// Target implements [registry.Strategy].
func (kqueue) Target() registry.Cleanup { return registry.CleanupMacOSKqueueSupervisorContract }
