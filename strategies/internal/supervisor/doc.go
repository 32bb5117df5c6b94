// Package supervisor is the process above a backend: it watches the owner and
// ends everything below itself when the owner is gone.
//
// # Linux
//
// Three processes of ours stand between a service and what it starts:
//
//	service ── proxy ── supervisor ── leader ── …the tree
//
// The proxy is this executable, started again: it is what the service knows as
// cmd.Process, and it ends as the leader ends. The supervisor is a child
// subreaper (PR_SET_CHILD_SUBREAPER, Linux 3.4): whatever loses its parent
// below it becomes its child, so nothing leaves the subtree, and ECHILD from
// wait4(2) proves that the subtree is empty.
//
// Whoever kills the proxy (Process.Kill, a cancelled CommandContext, a group
// kill) orders the end of the tree: the supervisor reads the end of a pipe. If
// the supervisor is killed instead, the leader gets its parent-death signal and
// the rest falls to the proxy, a subreaper too, which ends it in the same way.
//
// The supervisor is a fork of the proxy that never execs. It has no Go runtime:
// one thread, every signal blocked, nothing but system calls (raw_linux.go). A
// second start of the executable would cost a millisecond and some megabytes
// each time; a fork of a process this small costs a tenth of that, and where it can
// be told what the Go runtime's memory is, that is not even copied (memory_linux.go).
// A fork of the service itself would pin the service's heap, which is why the proxy
// lies in between. In contain run the command is its own proxy.
//
// Nothing is ever signalled by a bare PID: the supervisor kills only its own
// children, and a child's PID cannot be reused before its parent has waited.
package supervisor
