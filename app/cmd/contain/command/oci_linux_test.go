package command

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// The containers of these tests are made by Debian's runc, with a root file
// system of Debian's busybox-static. They run where CONTAIN_OCI=1 says that both
// are installed (.ci/run does), as root.
const ociEnv = "CONTAIN_OCI"

// ociShell is the shell that the containers' commands are written for.
const ociShell = "/bin/sh"

// ociCapabilities are those that Docker leaves to a container's root
// (https://docs.docker.com/engine/security/#linux-kernel-capabilities).
var ociCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// ociRefused are system calls that Docker's seccomp profile refuses to a process
// without the capability they need (https://docs.docker.com/engine/security/seccomp/).
var ociRefused = []string{
	"unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsmount", "fsconfig",
	"keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "ptrace", "process_vm_readv",
	"process_vm_writev", "kcmp", "init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon",
	"swapoff", "acct", "quotactl", "settimeofday", "open_by_handle_at", "iopl", "ioperm",
}

// ociConfig is the configuration of a container, as the OCI runtime
// specification has it (config.md, version 1.0.2). In a pod, it shares the PID namespace
// of the process pod and has a cgroup namespace, as Kubernetes does with shareProcessNamespace.
func ociConfig(uid, pod int, env, args []string) map[string]any {
	type object = map[string]any
	mount := func(to, kind string, options ...string) object {
		return object{"destination": to, "type": kind, "source": kind, "options": options}
	}
	errno := func(code syscall.Errno, names ...string) object {
		return object{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": int(code)}
	}
	namespaces := []object{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}
	if pod != 0 {
		namespaces[0]["path"] = fmt.Sprintf("/proc/%d/ns/pid", pod)
		namespaces = append(namespaces, object{"type": "cgroup"})
	}
	capabilities := object{"bounding": ociCapabilities}
	if uid == 0 {
		capabilities["permitted"], capabilities["effective"] = ociCapabilities, ociCapabilities
	}
	return object{
		"ociVersion": "1.0.2",
		"hostname":   "contained",
		"root":       object{"path": "rootfs", "readonly": true},
		"process": object{
			"user": object{"uid": uid, "gid": uid}, "args": args, "env": env, "cwd": "/",
			"capabilities": capabilities, "noNewPrivileges": true,
		},
		"mounts": []object{
			mount("/proc", "proc", "nosuid", "noexec", "nodev"),
			mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777"),
			mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
			mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		"linux": object{
			"namespaces":    namespaces,
			"maskedPaths":   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"},
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			"seccomp": object{
				"defaultAction": "SCMP_ACT_ALLOW",
				// What a filter cannot look into it has to refuse so that libraries fall back to clone.
				"syscalls": []object{errno(unix.ENOSYS, "clone3"), errno(unix.EPERM, ociRefused...)},
			},
		},
	}
}

// container is a bundle for runc, and what runc keeps of it.
type container struct {
	t        *testing.T
	dir, id  string
	uid      int
	pod      int               // whose PID namespace it shares, by the PID outside, or 0
	commands map[string]string // path inside: file outside
}

// newContainer makes a container that has contain and the shell, and nothing else
// that can be executed.
func newContainer(t *testing.T, contain string) *container {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	dir := readable(t, t.TempDir()) // for another user's container
	return &container{t: t, dir: dir, id: "contain-test-" + strings.ReplaceAll(filepath.Base(filepath.Dir(dir)), "_", "-") + "-" + filepath.Base(dir),
		commands: map[string]string{"contain": contain, ociShell: busybox}}
}

// tools adds the commands of busybox to the container.
func (c *container) tools(names ...string) *container {
	for _, name := range names {
		c.commands["/bin/"+name] = c.commands[ociShell]
	}
	return c
}

// runc is runc with a state directory of this test's own.
func (c *container) runc(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", c.dir + "/state"}, args...)...)
}

// start runs args as the container's PID 1. Nothing of the container outlives the test.
func (c *container) start(args ...string) *session {
	c.t.Helper()
	for to, from := range c.commands {
		to = filepath.Join(c.dir, "rootfs", to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			c.t.Fatal(err)
		}
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o755)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	env := []string{"PATH=/bin:/", "CONTAIN_TEST_BUNDLE=" + c.dir}
	if phase, ok := os.LookupEnv("CONTAIN_CI_PHASE"); ok {
		env = append(env, "CONTAIN_CI_PHASE="+phase) // by which .ci/run finds what is left
	}
	config, err := json.Marshal(ociConfig(c.uid, c.pod, env, args))
	if err != nil {
		c.t.Fatal(err)
	}
	writeFile(c.t, c.dir+"/config.json", string(config))
	c.t.Cleanup(c.remove)
	return start(c.t, c.runc("run", "--bundle", c.dir, c.id))
}

// remove deletes the container, and fails the test if anything is left of it.
func (c *container) remove() {
	if out, err := c.runc("delete", "--force", c.id).CombinedOutput(); err != nil {
		c.t.Errorf("runc delete %s: %v: %s", c.id, err, out)
	}
	// runc's processes name the bundle; the container's have it in their environment.
	eventually(c.t, "the container's processes are gone", func() bool { return mentioning(c.dir, nil) == 0 })
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.dir) {
		c.t.Errorf("mounts are left below %s (%v)", c.dir, err)
	}
	if left := append(glob("/sys/fs/cgroup/"+c.id), glob("/sys/fs/cgroup/*/"+c.id)...); len(left) > 0 {
		c.t.Errorf("cgroups are left: %q", left)
	}
}

// kill sends a signal to PID 1, as docker kill does.
func (c *container) kill(signal string) {
	c.t.Helper()
	if out, err := c.runc("kill", c.id, signal).CombinedOutput(); err != nil {
		c.t.Fatalf("runc kill %s %s: %v: %s", c.id, signal, err, out)
	}
}

// init returns PID 1 of the container by its PID outside.
func (c *container) init() int {
	c.t.Helper()
	out, err := c.runc("state", c.id).Output()
	var state struct{ Pid int }
	if err == nil {
		err = json.Unmarshal(out, &state)
	}
	if err != nil || state.Pid <= 0 {
		c.t.Fatalf("runc state %s: %v: %s", c.id, err, out)
	}
	return state.Pid
}

// inside counts what lives and what are zombies below a container's PID 1, to
// which whatever loses its parent there is given: it is all there is.
func inside(pid int) (living, zombies int) {
	for _, child := range childrenOf(pid) {
		switch state(child) {
		case "":
		case "Z", "X":
			zombies++
		default:
			l, z := inside(child)
			living, zombies = living+1+l, zombies+z
		}
	}
	return living, zombies
}

// TestOCI: contain in a container as Docker makes them: with a seccomp filter,
// few capabilities, a PID namespace of its own, masked paths and read-only cgroups.
func TestOCI(t *testing.T) {
	if os.Getenv(ociEnv) != "1" {
		t.Skipf("set %s=1 where runc and busybox-static are installed", ociEnv)
	}
	if os.Geteuid() != 0 {
		t.Skip("runc needs root for namespaces without a user namespace")
	}
	contain := staticContain(t)
	for _, c := range []struct {
		name string
		test func(t *testing.T, contain string)
	}{
		{"filtered", ociFiltered},
		{"prove", ociProve},
		{"exit-codes", ociExitCodes},
		{"stop", ociStop},
		{"stop-control", ociStopControl},
		{"reload", ociReload},
		{"orphans", ociOrphans},
		{"owner-killed", ociOwnerKilled},
		{"from-scratch", ociFromScratch},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, contain) })
	}
}

// staticContain builds the command as a release does.
func staticContain(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(readable(t, t.TempDir()), "contain")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// ociFiltered: the container is what the other tests take it for.
func ociFiltered(t *testing.T, contain string) {
	p := newContainer(t, contain).tools("grep", "unshare", "mkdir").start(ociShell, "-c", `grep Seccomp: /proc/self/status
unshare -u true 2>/dev/null || echo refused
cgroup=/sys/fs/cgroup; [ ! -d $cgroup/pids ] || cgroup=$cgroup/pids # version 1 or 2
mkdir $cgroup/contain-test 2>/dev/null || echo read-only
echo pid $$`)
	p.expect("Seccomp:\t2")
	p.expect("refused")
	p.expect("read-only")
	p.expect("pid 1")
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d; %s", code, p.stderr())
	}
}

// ociProve: what is declared and usable in a container is proved there, and
// what is not usable says why.
func ociProve(t *testing.T, contain string) {
	for name, where := range map[string]struct {
		uid int
		pod bool
	}{"root": {0, false}, "nobody": {65534, false}, "root-in-pod": {0, true}, "nobody-in-pod": {65534, true}} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t, contain)
			c.uid = where.uid
			if where.pod {
				c.pod = newPod(t, contain)
			}
			p := c.start("/contain", "prove", "--quick", "-o", "json")
			code := p.code()
			var text strings.Builder
			for line := range p.lines {
				text.WriteString(line + "\n")
			}
			if code != 0 {
				t.Fatalf("exit code %d: %s%s", code, text.String(), p.stderr())
			}
			var got proof
			if err := json.Unmarshal([]byte(text.String()), &got); err != nil {
				t.Fatal(err)
			}
			checkOCIProof(t, &got)
		})
	}
}

// newPod starts a container that does nothing, as a pod's first does, and returns its PID
// outside, which is 1 for all that share its namespace.
func newPod(t *testing.T, contain string) int {
	t.Helper()
	pause := newContainer(t, contain).tools("sleep")
	pause.start(ociShell, "-c", "echo ready; exec sleep 1000").expect("ready")
	return pause.init()
}

func checkOCIProof(t *testing.T, got *proof) {
	t.Helper()
	proved := map[string]registry.Reach{}
	for _, row := range got.Rows {
		if !row.Proved || row.Survivors > 0 {
			t.Errorf("%s %s: %+v", row.Strategy, row.Event, row)
		}
		if row.Event == registry.EventOwnerKilled {
			proved[row.Strategy] = row.Reach
		}
	}
	if proved["linux/subreaper"] != registry.ReachTree || proved["linux/pdeathsig"] != registry.ReachChild {
		t.Errorf("proved for a killed owner: %v", proved)
	}
	for _, u := range got.Unusable {
		t.Logf("%s: %s", u.Name, u.Reason)
		if u.Reason == "" {
			t.Errorf("%s is not usable and does not say why", u.Name)
		}
		proved[u.Name] = ""
	}
	for _, strategy := range strategies {
		if _, ok := proved[strategy]; !ok {
			t.Errorf("%s is neither proved nor listed as not usable", strategy)
		}
	}
}

// ociExitCodes: the container's exit code is the command's.
func ociExitCodes(t *testing.T, contain string) {
	for want, command := range map[int][]string{
		0:   {ociShell, "-c", "exit 0"},
		7:   {ociShell, "-c", "exit 7"},
		126: {"/proc/1/status"},
		127: {"/bin/no-such-command"},
		137: {ociShell, "-c", "kill -KILL $$"},
		143: {ociShell, "-c", "kill -TERM $$"},
	} {
		p := newContainer(t, contain).start(append([]string{"/contain", "run", "--"}, command...)...)
		if got := p.code(); got != want {
			t.Errorf("%q: exit code %d, want %d; %s", command, got, want, p.stderr())
		}
	}
}

// ociStop: docker stop ends the container at once, in the command's own way, and
// in the way of TERM if it has none, as PID 1 alone would not.
func ociStop(t *testing.T, contain string) {
	for name, c := range map[string]struct {
		trap string
		want int
	}{"handled": {"trap 'echo bye; exit 5' TERM; ", 5}, "default": {"", 143}} {
		t.Run(name, func(t *testing.T) {
			box := newContainer(t, contain).tools("sleep", "setsid")
			p := box.start("/contain", "run", "--grace", "1h", "--", ociShell, "-c", c.trap+"setsid sleep 1000 & echo ready; wait")
			p.expect("ready")
			box.kill("TERM")
			if c.trap != "" {
				p.expect("bye")
			}
			if got := p.code(); got != c.want {
				t.Errorf("exit code %d, want %d; %s", got, c.want, p.stderr())
			}
		})
	}
}

// ociStopControl: without contain, a command without a handler ignores TERM as PID 1.
func ociStopControl(t *testing.T, contain string) {
	box := newContainer(t, contain).tools("sleep")
	p := box.start(ociShell, "-c", "echo ready; exec sleep 1000")
	p.expect("ready")
	pid := box.init()
	eventually(t, "sleep is PID 1", func() bool { return status(pid, "Name") == "sleep" })
	box.kill("TERM") // the kernel drops it while it is sent
	if s := state(pid); s != "S" {
		t.Errorf("PID 1 is in state %q: it does not need contain to end", s)
	}
}

// ociReload: docker kill -s HUP is a reload of the command and no end.
func ociReload(t *testing.T, contain string) {
	box := newContainer(t, contain).tools("sleep")
	p := box.start("/contain", "run", "--", ociShell, "-c", "trap 'echo reload' HUP; trap 'exit 9' USR1; sleep 1000 & echo ready; while :; do wait; done")
	p.expect("ready")
	for range 3 {
		box.kill("HUP")
		p.expect("reload")
	}
	box.kill("USR1")
	if got := p.code(); got != 9 {
		t.Errorf("exit code %d, want 9; %s", got, p.stderr())
	}
}

// ociOrphans: as PID 1, contain leaves no zombie of what loses its parent; a
// command that does not wait leaves all.
func ociOrphans(t *testing.T, contain string) {
	// An orphan ends when it is told to, after the shell that might wait for it is gone.
	const command = `exec 4<&0; for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c "read go <&4; echo orphan" &); done; exec sleep 1000`
	for name, entrypoint := range map[string][]string{"contain": {"/contain", "run", "--"}, "control": nil} {
		t.Run(name, func(t *testing.T) {
			box := newContainer(t, contain).tools("sleep")
			p := box.start(append(entrypoint, ociShell, "-c", "echo ready; "+command)...)
			p.expect("ready")
			pid := box.init()
			eventually(t, "the leader is sleep and has ten orphans by it", func() bool {
				living, _ := inside(pid)
				if entrypoint == nil {
					return status(pid, "Name") == "sleep" && living == 10
				}
				return living == 2+10 && hasNamed(pid, "sleep")
			})
			for range 10 {
				p.say("go")
				p.expect("orphan")
			}
			if entrypoint == nil {
				eventually(t, "ten zombies", func() bool { _, zombies := inside(pid); return zombies == 10 })
				return
			}
			// What is left are the supervisor and the leader.
			eventually(t, "no orphan and no zombie", func() bool {
				living, zombies := inside(pid)
				return living == 2 && zombies == 0
			})
		})
	}
}

// hasNamed reports whether one of the processes below pid has a name.
func hasNamed(pid int, name string) bool {
	for _, child := range childrenOf(pid) {
		if status(child, "Name") == name || hasNamed(child, name) {
			return true
		}
	}
	return false
}

// ociOwnerKilled: contain is not PID 1 and is SIGKILLed in the container.
// Nothing that it ran is left, though the container lives on. In a pod, PID 1 is
// another container's, and what loses its parent is given to that.
func ociOwnerKilled(t *testing.T, contain string) {
	const tree = ociShell + ` -c 'setsid sleep 1000 & (trap "" TERM INT HUP; sleep 1000 &) ; echo inside; wait'`
	for name, c := range map[string]struct {
		owner string
		pod   bool
		left  int
	}{
		"contain": {"/contain run -- " + tree, false, 0}, "control": {tree, false, 2},
		"contain-in-pod": {"/contain run -- " + tree, true, 0}, "control-in-pod": {tree, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			box := newContainer(t, contain).tools("sleep", "setsid")
			living := func() int { n, _ := inside(box.init()); return n }
			if c.pod {
				box.pod = newPod(t, contain)
				alone := living
				living = func() int { n, _ := inside(box.pod); return n + alone() }
			}
			p := box.start(ociShell, "-c", "echo pid $$; "+c.owner+" & owner=$!; read go; kill -KILL $owner; wait $owner; echo killed $?; read go; exit 3")
			if pid := p.hear("its PID"); (pid == "pid 1") == c.pod {
				t.Errorf("the container's first process has %s", pid)
			}
			p.expect("inside")
			eventually(t, "the tree is there", func() bool { return living() >= 3 })
			p.say("go")
			p.expect("killed 137")
			eventually(t, "no more is left than is to be", func() bool { return living() == c.left })
			p.say("go")
			if got := p.code(); got != 3 {
				t.Errorf("the container ended with %d, want 3: %s", got, p.stderr())
			}
		})
	}
}

// ociFromScratch: the image needs no file but contain and a static command.
func ociFromScratch(t *testing.T, contain string) {
	box := newContainer(t, contain)
	box.commands = map[string]string{"contain": contain, "server": contain}
	p := box.start("/contain", "run", "--", "/server", "version")
	if line := p.hear("the version"); !strings.HasPrefix(line, "contain ") {
		t.Errorf("%q", line)
	}
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr())
	}
}

// say writes a line to the command's standard input.
func (p *session) say(line string) {
	p.t.Helper()
	if _, err := p.in.Write([]byte(line + "\n")); err != nil {
		p.t.Fatal(err)
	}
}
