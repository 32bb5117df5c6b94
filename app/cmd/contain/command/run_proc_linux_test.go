package command

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestRunWithoutProc: as PID 1 of a system that has no /proc yet, contain says on one
// line what to do, and runs nothing. What it advises works.
func TestRunWithoutProc(t *testing.T) {
	contain := staticContain(t)
	inside := func(arg ...string) *exec.Cmd {
		root := readable(t, t.TempDir())
		b, err := os.ReadFile(contain)
		if err == nil {
			err = os.WriteFile(root+"/contain", b, 0o755)
		}
		if err == nil {
			err = os.Mkdir(root+"/proc", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/contain", arg...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		return cmd
	}
	for _, flags := range [][]string{nil, {"--require", "owner-killed=tree"}} {
		cmd := inside(append(append([]string{"run"}, flags...), "--", "/contain", "version")...)
		out, err := cmd.CombinedOutput()
		text := string(out)
		if cmd.ProcessState == nil {
			t.Skipf("no namespaces here: %v", err)
		}
		if code := cmd.ProcessState.ExitCode(); code != 125 {
			t.Errorf("%q: exit code %d, want 125", flags, code)
		}
		if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "contain: no /proc") || !strings.Contains(text, "mount -t proc proc /proc") || len(text) > 250 {
			t.Errorf("%q: no clear line: %q", flags, text)
		}
	}
	if out, err := inside("run", "--best-effort", "--quiet", "--", "/contain", "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "contain ") {
		t.Errorf("--best-effort, as advised: %v: %s", err, out)
	}
}
