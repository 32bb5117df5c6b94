package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// Install implements [registry.Strategy].
func (pidns) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	i, err := newSupervised(ctx, PidnsName, pidnsFlags(), opts)
	if err == nil {
		i.cleanup, err = bind(PidnsName, opts)
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

// whyNoNamespaces adds to a refusal what on this host causes it.
func whyNoNamespaces(err error) error {
	var own *registry.Error
	if !errors.As(err, &own) || !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if why := namespaceLimits(); why != "" {
		own.Err = fmt.Errorf("%w (%s)", own.Err, why)
	}
	return err
}

// namespaceLimits says which setting refuses namespaces to this process.
func namespaceLimits() string {
	if capable(unix.CAP_SYS_ADMIN) {
		return ""
	}
	for _, s := range []struct{ file, refuses, advice string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 allows them"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor allows them only to profiled programs (sysctl kernel.apparmor_restrict_unprivileged_userns)"},
	} {
		if b, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(b)) == s.refuses {
			return "user namespaces are refused here: " + s.advice
		}
	}
	return "if user namespaces are allowed, a seccomp profile refuses them: in a container, allow clone with CLONE_NEWUSER or grant CAP_SYS_ADMIN"
}
