// Package supervisor starts the process above a backend, which watches the owner and
// ends everything below itself when the owner is gone.
//
// # How a backend comes to life on Linux
//
//	service ────────── proxy ────────── supervisor ────────── leader ── …the tree
//	  │  cmd.Process ──┘ │                │ a child subreaper    │ parent-death signal
//	  │                  └── one socket ──┘                      │ from the supervisor
//	  └── a channel to both, and a pidfd of itself ──┘
//
// The service executes a file that lies on disk, its own or that of an installed
// contain, by the path /proc/self/fd/./N. The kernel hands that path on, AT_EXECFN in
// getauxval(3), whatever becomes of arguments and environment. By it the process that
// begins there knows that it is a helper, and never comes to the service's own code.
// Package entry has its program, which needs no Go runtime, and two ways into it: at
// the ELF entry, before the runtime, where the file was linked with
//
//	-ldflags=-E=github.com/seed329817d7/contain/strategies/internal/entry.Start
//
// and in the first init function of all in any other build; there it ends the threads
// of the runtime that has begun and gives its memory back.
//
// The helper takes a channel to the service: one that it inherited (Start), or a
// socket that N and its parent's PID name (Wrap). Each side checks who the other is. The
// service sends one [entry.Block], which says what to start, and a pidfd of itself.
//
// The helper is the proxy from then on. It forks the supervisor, which looks whether the owner
// is alive, becomes a child subreaper (PR_SET_CHILD_SUBREAPER, Linux 3.4) and forks the
// leader: with its memory shared, like vfork(2), or in new namespaces or a cgroup. The
// leader takes its attributes, binds itself to the supervisor and executes the command.
// The supervisor reports that, and Start returns. Neither proxy nor supervisor keeps a
// descriptor of the command's, and no process group that a service learns from
// cmd.Process.Pid has the supervisor in it.
//
// # How it dies
//
// The supervisor waits for whatever comes first: the end of the owner (its pidfd), of
// the proxy (their socket), an order, or the end of the leader. Then it kills its
// children until wait4(2) says ECHILD. Whatever lost its parent below it has become
// its child, so nothing leaves the subtree, and ECHILD proves that it is empty. Only
// then the proxy ends as the leader did, and Done is closed.
//
// Whoever kills the proxy (Process.Kill, a cancelled CommandContext, a group kill)
// orders the end of the tree. If the supervisor is killed instead, the leader gets its
// parent-death signal and the rest falls to the proxy, a subreaper too, which ends it
// in the same way. If both are killed, the leader dies and the rest is lost; under
// linux/cgroup the service's watcher has it, which is a helper as well.
//
// Nothing is ever signalled by a bare PID: a supervisor kills only its own children,
// and a child's PID cannot be reused before its parent has waited.
//
// contain run is its own proxy: a Go program that forks the supervisor, by [Run].
package supervisor
