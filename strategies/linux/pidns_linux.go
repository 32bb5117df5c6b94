package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Install implements [registry.Strategy].
func (pidns) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	i, err := newSupervised(ctx, PidnsName, pidnsFlags(), opts)
	if err == nil {
		i.cleanup, err = bind(PidnsName, opts, &i.backends)
	}
	if err != nil {
		return nil, whyNoNamespaces(err)
	}
	return i, nil
}

// Probe implements [registry.Prober]: it makes a namespace and its init.
func (pidns) Probe(ctx context.Context) error {
	_, err := newSupervised(ctx, PidnsName, pidnsFlags(), registry.InstallOptions{})
	return whyNoNamespaces(err)
}

// Run implements [registry.Runner].
func (pidns) Run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	res, err := (&supervised{strategy: PidnsName, initFlags: pidnsFlags()}).run(ctx, cmd, opts)
	return res, whyNoNamespaces(err)
}

// pidnsFlags returns the namespaces that the init is born in. Only with
// CAP_SYS_ADMIN can a PID namespace be made without a user namespace.
func pidnsFlags() uint64 {
	flags := uint64(unix.CLONE_NEWPID | unix.CLONE_NEWNS)
	if !capable(unix.CAP_SYS_ADMIN) {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

// capable reports whether the calling thread has an effective capability.
func capable(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[c/32].Effective&(1<<(c%32)) != 0
}

// whyNoNamespaces adds to a refusal what on this host causes it, and what to do.
func whyNoNamespaces(err error) error {
	var failed *supervisor.StartError
	if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &failed) {
		return err
	}
	if why := (refusedNamespace{failed.Step, failed.Err, !capable(unix.CAP_SYS_ADMIN)}).why("/proc"); why != "" {
		return fmt.Errorf("%w; %s", err, why)
	}
	return err
}

// refusedNamespace is a step towards an init that the kernel did not let us take.
type refusedNamespace struct {
	step  supervisor.Step
	err   error
	users bool // it was to be in a user namespace
}

// why says which setting refuses it and what to do, as far as the files of proc
// tell, or "".
func (r refusedNamespace) why(proc string) string {
	switch r.step {
	case supervisor.StepFork:
		return r.whyNoFork(proc)
	case supervisor.StepMaps, supervisor.StepProc:
		if over := mountedOver(proc); len(over) > 0 && r.step == supervisor.StepProc {
			return fmt.Sprintf("this process's /proc is masked: %s lie under other mounts; have it unmasked (docker and podman: --security-opt systempaths=unconfined or unmask=ALL, Kubernetes: procMount: Unmasked), or name linux/subreaper", strings.Join(over, ", "))
		}
		if r.users && setting(proc, appArmorSetting) == "1" {
			return appArmorAdvice // it lets the namespace be made, and nothing be done in it
		}
	}
	return ""
}

const (
	appArmorSetting = "kernel/apparmor_restrict_unprivileged_userns"
	appArmorAdvice  = "AppArmor allows user namespaces only to programs with a profile that has userns: give this one such a profile, or set sysctl kernel.apparmor_restrict_unprivileged_userns=0"
)

// whyNoFork tells the causes apart by what clone(2) answers: ENOSPC for a limit
// on the number of namespaces, EUSERS for the depth before Linux 4.9, EPERM or
// what else it was told for everything that forbids them.
func (r refusedNamespace) whyNoFork(proc string) string {
	if errors.Is(r.err, unix.ENOSPC) || errors.Is(r.err, unix.EUSERS) {
		for _, kind := range []string{"user", "pid", "mnt"} {
			if name := "max_" + kind + "_namespaces"; setting(proc, "user/"+name) == "0" && (r.users || kind != "user") {
				return "sysctl user." + name + " is 0 in this user namespace; raise it"
			}
		}
		return "the limit of sysctl user.max_user_namespaces, max_pid_namespaces or max_mnt_namespaces is reached, here or in a user namespace above, or namespaces are nested 32 deep; raise it"
	}
	if r.users && setting(proc, "kernel/unprivileged_userns_clone") == "0" {
		return "user namespaces are refused to the unprivileged: set sysctl kernel.unprivileged_userns_clone=1"
	}
	if filtered(proc) {
		return "a seccomp filter is in force for this process and most likely refuses it: in a container allow clone with CLONE_NEWUSER, CLONE_NEWPID and CLONE_NEWNS in the profile, in a systemd unit drop RestrictNamespaces"
	}
	if r.users && setting(proc, appArmorSetting) == "1" {
		return appArmorAdvice
	}
	if r.users {
		return "no sysctl and no seccomp filter refuses user namespaces; clone(2) does so in a chroot, and for a uid or gid that the user namespace does not map, and a security module (SELinux) may"
	}
	return "a security module may refuse it"
}

// setting reads a sysctl, "" if this kernel does not have it.
func setting(proc, name string) string {
	b, _ := os.ReadFile(proc + "/sys/" + name)
	return strings.TrimSpace(string(b))
}

// filtered reports whether a seccomp filter is in force, Seccomp in
// proc_pid_status(5).
func filtered(proc string) bool {
	b, _ := os.ReadFile(proc + "/self/status")
	return strings.Contains(string(b), "\nSeccomp:\t2\n")
}

// mountedOver returns what lies over parts of /proc: the kernel then refuses a
// fresh one to a new user namespace, mount_too_revealing in Linux' fs/namespace.c.
// On an empty directory, as binfmt_misc's is, a mount hides nothing.
func mountedOver(proc string) []string {
	b, _ := os.ReadFile(proc + "/self/mountinfo")
	var over []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], "/proc/") || fields[4] == "/proc/sys/fs/binfmt_misc" {
			continue
		}
		if !slices.Contains(over, fields[4]) {
			over = append(over, fields[4])
		}
	}
	return over
}
