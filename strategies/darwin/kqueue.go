// Package darwin holds the containment strategy for macOS and registers it with
// registry.Default. It imports, lists and describes itself on every system;
// elsewhere Install returns an error that wraps errors.ErrUnsupported.
//
// # Mechanism
//
// macOS has neither a parent-death signal nor a subreaper nor a namespace. Each
// backend gets a supervisor, the leader's parent, which registers the owner with
// kevent(2) under the contract of registry.BrokerContract. When the owner ends it
// stops the tree, looks until nobody new is found, and kills all.
//
// What descends from the leader is known by two marks: its lineage, which is who forked
// whom by numbers that are never used again, and the sentinel, one end of a pipe that
// the leader inherits, and whoever descends from it. The process table is read as soon
// as the leader runs and whenever a member forks, executes or exits. A signal names the
// process by PID and version, which the kernel compares.
//
// # Guarantees
//
// When the owner exits or is killed, and when the leader exits, the tree is gone
// within 5 s, enforced by the supervisor. Nothing is promised for the case that
// the supervisor is killed.
//
// # Limits
//
// See the Limits of [Kqueue]'s description.
//
// # Supported systems
//
// macOS on amd64 and arm64; signals by version need macOS 14.2. It has not been run on
// macOS by us. All but a table of a dozen calls runs on Linux in the tests, against real
// processes, where every drill is held, and on a simulated XNU with random schedules;
// neither proves anything about macOS itself.
package darwin

import "github.com/seed329817d7/contain/registry"

// KqueueName is the name of the strategy that [Kqueue] returns.
const KqueueName = "darwin/kqueue"

func init() { registry.Default().MustRegister(Kqueue()) }

type kqueue struct{}

// Kqueue returns the strategy darwin/kqueue: reach tree, unprivileged.
//
// cmd.Process is a thin proxy (this executable started again, named
// contain-supervisor). Killing it and cancelling a CommandContext end the whole
// tree; signals sent to it reach the leader. Install changes nothing about this
// process.
//
// What an exec.Cmd may carry:
//
//	Stdin, Stdout, Stderr    passed
//	ExtraFiles               passed; a nil entry is refused
//	Path, Args (Args[0])     passed
//	Env, Dir                 passed; neither is the supervisor's own
//	Cancel, WaitDelay        os/exec's own; Process.Kill ends the tree
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
	tree := func(e registry.Event) registry.Guarantee {
		return registry.Guarantee{Event: e, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: contract.KillDeadline}
	}
	return registry.Description{
		Name:     KqueueName,
		Platform: registry.PlatformDarwin,
		Summary:  "Each backend runs below a supervisor that watches the owner by kqueue and kills the tree, known by who forked whom and by an inherited descriptor.",
		Target:   registry.CleanupMacOSKqueueSupervisorContract,
		Guarantees: []registry.Guarantee{
			tree(registry.EventOwnerKilled), tree(registry.EventLeaderExit), tree(registry.EventOwnerExit),
		},
		Requires: []string{
			"macOS",
			"an executable that may start itself again: not a c-shared, c-archive or plugin build (or InstallOptions.Supervisor)",
		},
		Limits: []string{
			"a process that closes the descriptors it does not know, and whose parent forked it and exited before anybody looked, is not found",
			"the backend inherits one descriptor more, number 199 if it is free and the limit allows it",
			"another user's descriptors can be seen by root alone, and another user's processes signalled: what a setuid program under an unprivileged service starts lives on",
			"if the supervisor is killed, alone or with the owner, nothing is promised",
			"macOS names a process after its file: killall -9 of the service's name ends its supervisors too, unless InstallOptions.Supervisor is an installed contain command",
			"before macOS 14.2 a process may exit, and its PID be reused, between the check of its number and the signal",
			"while a debugger that the backend starts is attached to a process of others, and that process executes something, it counts as the backend's",
			"a program in the App Sandbox cannot start itself again (forbidden-sandbox-reinit): InstallOptions.Supervisor must be a helper that inherits the sandbox",
			"under the hardened runtime DYLD_* variables reach neither the supervisor nor the backend",
			"a leader's crash is mirrored by /bin/sh, of which macOS may keep a crash report",
			"with SysProcAttr.Setpgid, a signal sent to the group reaches the leader twice: by itself and through the proxy",
			"SIGSTOP cannot be forwarded: sent to cmd.Process it stops the proxy alone",
			"if this executable's file is replaced, later backends get the new one as their supervisor",
			"work asked of others (launchd, at, cron) was never below the supervisor",
		},
		Supervisor: &contract,
		Unproved:   "not run on macOS by us; the drills are held on Linux over a stand-in, which proves nothing about macOS",
	}
}

// Target implements [registry.Strategy].
func (kqueue) Target() registry.Cleanup { return registry.CleanupMacOSKqueueSupervisorContract }
