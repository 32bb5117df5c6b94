package linux

import "github.com/seed329817d7/contain/registry"

// AutokillName is the name of the strategy that [Autokill] returns.
const AutokillName = "linux/autokill"

type autokill struct{}

// Autokill returns the strategy linux/autokill: reach tree, by the kernel alone, and
// without a thread or a signal on which it would rest.
//
// The backend runs in a PID namespace of its own, below a small init of ours, as under
// [Pidns]. But the init is tied to a pidfd that this process alone holds
// (CLONE_PIDFD_AUTOKILL, Linux 7.1): when this process ends, however it ends, the
// descriptor is closed, and the kernel kills the init and everything in the
// namespace. The helper that forks the init hands the pidfd over before the
// init begins, so there is no moment at which nobody is responsible; and neither does
// it matter which thread started a backend, nor whether this process changes its
// identity.
//
// It is opt-in, for the differences that the backend sees; an exec.Cmd may carry what
// it may carry under [Pidns].
func Autokill() registry.Strategy { return autokill{} }

// Describe implements [registry.Strategy].
func (autokill) Describe() registry.Description {
	d := describeNamespaced(
		"Linux 7.1 on amd64 or arm64, and CAP_SYS_ADMIN, or unprivileged user namespaces",
		"under an owner without CAP_SYS_ADMIN it has no_new_privs, and is in a user namespace where only its own uid and gid exist: setuid programs gain nothing, files of others belong to nobody, setgroups is denied",
		"whoever has a copy of the pidfd extends the life of the tree: a child that the service forks has one until its exec, a process that took it by pidfd_getfd(2) for as long as it likes; then only the supervisor is left, which ends the tree when it sees the owner's end",
	)
	d.Name = AutokillName
	d.Summary = "Each backend runs in a PID namespace whose init the kernel kills when the owner's pidfd of it is closed, and everything in the namespace with it."
	d.Preference = 1 // over linux/pidns, which declares the same and rests on more
	return d
}

// Target implements [registry.Strategy].
func (autokill) Target() registry.Cleanup { return registry.CleanupLinuxParentDeathSignal }
