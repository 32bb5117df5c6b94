package command

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunInKilledCgroup: in a cgroup to which cgroup.kill was ever written, where a
// command in a cgroup of its own would be killed before its exec, contain run takes
// another strategy, or says so if it may not.
func TestRunInKilledCgroup(t *testing.T) {
	s := &setting{t: t, bin: containBinary(t), strategy: "linux/cgroup"}
	if usable, why := s.probe(); !usable {
		t.Skipf("%s is not usable here: %s", s.strategy, why)
	}
	killed, err := os.MkdirTemp(ownCgroup(t), "test-killed-")
	if err == nil {
		err = os.WriteFile(killed+"/cgroup.kill", []byte("1"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(killed); err != nil {
			t.Error(err)
		}
	})
	inside := func(args ...string) (stdout, stderr string, code int) {
		cmd := s.command("sh", append([]string{"-c", `echo 0 >"$0"/cgroup.procs; exec "$@"`, killed}, args...)...)
		var out, diagnostics bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &diagnostics
		var failed *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		return out.String(), diagnostics.String(), cmd.ProcessState.ExitCode()
	}
	for name, args := range map[string][]string{
		"plain":       {s.bin, "run", "--", "echo", "ran"},
		"with a flag": {s.bin, "run", "--best-effort", "--", "echo", "ran"},
	} {
		if out, said, code := inside(args...); out != "ran\n" || code != 0 {
			t.Errorf("%s: printed %q, exit code %d, said %q", name, out, code, said)
		}
	}
	out, said, code := inside(s.bin, "run", "--strategy", s.strategy, "--", "echo", "ran")
	if code == 0 && out == "ran\n" {
		t.Skip("this kernel does not kill who is born there")
	}
	if out != "" || code != 125 || !strings.Contains(said, "cgroup.kill was ever written") {
		t.Errorf("--strategy %s: printed %q, exit code %d, said %q", s.strategy, out, code, said)
	}
	if left, _ := filepath.Glob(killed + "/contain-*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// ownCgroup returns the directory of this process's cgroup of version 2, where it is
// usually mounted.
func ownCgroup(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
				dir := filepath.Join(mount, strings.TrimSpace(path))
				if _, err := os.Stat(dir + "/cgroup.controllers"); err == nil {
					return dir
				}
			}
		}
	}
	t.Skip("no cgroup of version 2 is found at the usual place")
	return ""
}

// TestRunDividedCgroup: the cgroup of a command that made another below it is left, without
// a process, when contain is SIGKILLed, and goes with the next contain run there.
func TestRunDividedCgroup(t *testing.T) {
	s := &setting{t: t, bin: containBinary(t), strategy: "linux/cgroup"}
	if usable, why := s.probe(); !usable {
		t.Skipf("%s is not usable here: %s", s.strategy, why)
	}
	dir, err := os.MkdirTemp(ownCgroup(t), "test-divided-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	inside := func(args ...string) *exec.Cmd {
		return s.command("sh", append([]string{"-c", `echo 0 >"$0"/cgroup.procs; exec "$@"`, dir}, s.args(args...)...)...)
	}
	const divide = `find "$0" -path '*/contain-*' -name cgroup.procs | while read file; do
		if grep -qx $$ "$file"; then mkdir "${file%/*}/sub" && echo $$ >"${file%/*}/sub/cgroup.procs" && echo divided >&3; fi
	done; exec sleep 1000`
	live := newLiveness(t)
	p := start(t, live.carry(inside("--", "sh", "-c", divide, dir)))
	live.expect("divided")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	live.wantGone()
	p.wait()
	if left, _ := filepath.Glob(dir + "/contain-*"); len(left) == 0 {
		t.Error("nothing is left: Limits says less than is true")
	}
	if p := start(t, inside("--", "true")); p.code() != 0 {
		t.Error(p.stderr())
	}
	eventually(t, "nothing is left", func() bool {
		left, _ := filepath.Glob(dir + "/contain-*")
		return len(left) == 0
	})
}
