package linux

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// inNewUsers lets cmd be root of a user namespace of its own, where 65536 IDs exist.
func inNewUsers(cmd *exec.Cmd) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	cmd.SysProcAttr.GidMappingsEnableSetgroups = true
}

// Each thing that keeps linux/pidns from an unprivileged service is told from
// the others, and comes with what to do. The controls are the same worlds without it.
func TestPidnsRefusals(t *testing.T) {
	asRoot(t)
	control, _, _ := inWorld(t, "nobody", PidnsName, nil)
	if control != "usable" {
		t.Skipf("an unprivileged user cannot use %s here: %s", PidnsName, control)
	}
	for _, tt := range []struct {
		what, world string
		change      func(*exec.Cmd)
		want        []string // all of them
		not         []string
	}{
		{what: "in a user namespace", world: "nobody", change: inNewUsers},
		{what: "a limit of the user namespace", world: "no users below here", change: inNewUsers,
			want: []string{"fork the supervisor", "no space left", "user.max_user_namespaces is 0", "raise it"}, not: []string{"seccomp", "AppArmor"}},
		{what: "seccomp", world: "nobody, no new users",
			want: []string{"fork the supervisor", "operation not permitted", "seccomp", "CLONE_NEWUSER"}, not: []string{"sysctl", "AppArmor"}},
		{what: "a masked /proc", world: "masked proc",
			want: []string{"mount a fresh /proc", "/proc/sys lie under other mounts", "procMount: Unmasked"}, not: []string{"seccomp", "AppArmor"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			probed, installed, _ := inWorld(t, tt.world, PidnsName, tt.change)
			if tt.want == nil && (probed != "usable" || installed != "installed") {
				t.Errorf("the control: probe %q, Install %q", probed, installed)
			}
			for _, w := range tt.want {
				if !strings.HasPrefix(probed, "unsupported: ") || !strings.Contains(probed, w) {
					t.Errorf("the probe says %q, want it to say %q", probed, w)
				}
				if !strings.HasPrefix(installed, "true: ") || !strings.Contains(installed, w) {
					t.Errorf("Install says %q, want it to say %q", installed, w)
				}
			}
			for _, n := range tt.not {
				if strings.Contains(probed, n) {
					t.Errorf("the probe says %q, which has nothing to do with %q", probed, n)
				}
			}
		})
	}
	t.Run("root needs no user namespace", func(t *testing.T) {
		if probed, _, _ := inWorld(t, "seccomp new users", PidnsName, nil); probed != "usable" {
			t.Error(probed)
		}
	})
}

// What cannot be set up on every host is read from files in the place of /proc.
func TestWhyNoNamespaces(t *testing.T) {
	const (
		filter   = "self/status"
		clone    = "sys/kernel/unprivileged_userns_clone"
		appArmor = "sys/kernel/apparmor_restrict_unprivileged_userns"
		users    = "sys/user/max_user_namespaces"
		pids     = "sys/user/max_pid_namespaces"
		mounts   = "self/mountinfo"
	)
	seccomp := "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"
	masks := "1 0 0:5 / /proc rw - proc proc rw\n2 1 0:6 / /proc/kcore rw - tmpfs tmpfs rw\n3 1 0:6 / /proc/sys/fs/binfmt_misc rw - autofs none rw\n"
	for _, tt := range []struct {
		what  string
		r     refusedNamespace
		files map[string]string
		want  string // "" for nothing at all
	}{
		{"limit", refusedNamespace{supervisor.StepFork, unix.ENOSPC, true}, map[string]string{users: "0\n", appArmor: "1\n"}, "user.max_user_namespaces is 0"},
		{"limit of PID namespaces", refusedNamespace{supervisor.StepFork, unix.ENOSPC, false}, map[string]string{users: "0\n", pids: "0\n"}, "user.max_pid_namespaces is 0"},
		{"limit above", refusedNamespace{supervisor.StepFork, unix.ENOSPC, true}, map[string]string{users: "100\n"}, "in a user namespace above"},
		{"Debian's sysctl", refusedNamespace{supervisor.StepFork, unix.EPERM, true}, map[string]string{clone: "0\n", filter: seccomp}, "kernel.unprivileged_userns_clone=1"},
		{"Debian's sysctl and root", refusedNamespace{supervisor.StepFork, unix.EPERM, false}, map[string]string{clone: "0\n", filter: seccomp}, "seccomp filter"},
		{"seccomp", refusedNamespace{supervisor.StepFork, unix.EPERM, true}, map[string]string{clone: "1\n", filter: seccomp, appArmor: "0\n"}, "seccomp filter"},
		{"AppArmor at the fork", refusedNamespace{supervisor.StepFork, unix.EACCES, true}, map[string]string{appArmor: "1\n"}, "AppArmor"},
		{"AppArmor in the namespace", refusedNamespace{supervisor.StepProc, unix.EACCES, true}, map[string]string{appArmor: "1\n"}, "AppArmor"},
		{"AppArmor at the maps", refusedNamespace{supervisor.StepMaps, unix.EPERM, true}, map[string]string{appArmor: "1\n", mounts: masks}, "AppArmor"},
		{"AppArmor off", refusedNamespace{supervisor.StepProc, unix.EPERM, true}, map[string]string{appArmor: "0\n"}, ""},
		{"masked", refusedNamespace{supervisor.StepProc, unix.EPERM, true}, map[string]string{mounts: masks, filter: seccomp}, "masked: /proc/kcore lie"},
		{"nothing to see", refusedNamespace{supervisor.StepFork, unix.EPERM, true}, nil, "chroot"},
		{"another step", refusedNamespace{supervisor.StepGuard, unix.ESRCH, true}, map[string]string{clone: "0\n", appArmor: "1\n", mounts: masks}, ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			proc := t.TempDir()
			for name, text := range tt.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(proc, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(proc, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := tt.r.why(proc)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want it to say %q", got, tt.want)
			}
		})
	}
}
