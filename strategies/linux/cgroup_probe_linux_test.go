package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
)

const worldEnv = "CONTAIN_TEST_WORLD"

// worlds are what a role does to its own process before it looks around. Each
// is born in a mount namespace of its own.
var worlds = map[string]func(){
	"":                    func() {},
	"seccomp ENOSYS":      func() { must(refuse(unix.ENOSYS, refuseClone3...)) },
	"seccomp EPERM":       func() { must(refuse(unix.EPERM, refuseClone3...)) },
	"seccomp new users":   func() { must(refuse(unix.EPERM, refuseNewUser...)) },
	"emulated":            func() { must(refuse(unix.ENOSYS, refuseClone3...)); must(refuse(unix.EINVAL, refuseExitSignal...)) },
	"read-only cgroup2":   func() { must(remountReadOnly(cgroup2Mount())) },
	"no cgroup2":          func() { must(unix.Unmount(cgroup2Mount(), unix.MNT_DETACH)) },
	"masked proc":         func() { must(unix.Mount("tmpfs", "/proc/sys", "tmpfs", unix.MS_RDONLY, "")); dropToNobody() },
	"nobody":              dropToNobody,
	"namespace":           func() {},
	"namespace, mounted":  mountCgroup2,
	"no users below here": func() { must(forbidUsersBelow()); dropToNobody() },
	"nobody, no new users": func() {
		must(refuse(unix.EPERM, refuseNewUser...))
		dropToNobody()
	},
}

// forbidUsersBelow sets the limit of this process's own user namespace, which
// must not be the host's.
func forbidUsersBelow() error {
	maps, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || len(strings.Fields(string(maps))) != 3 || strings.Fields(string(maps))[2] == "4294967295" {
		return fmt.Errorf("not in a user namespace of the test's own: %q, %v", maps, err)
	}
	return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
}

func dropToNobody() {
	must(syscall.Setgroups(nil))
	must(syscall.Setresgid(65534, 65534, 65534))
	must(syscall.Setresuid(65534, 65534, 65534))
	// A change of uid makes /proc/self root's; the maps of a child's user namespace
	// are written through it.
	must(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
}

func remountReadOnly(point string) error {
	return unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// cgroup2Mount returns where the first is.
func cgroup2Mount() string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	must(err)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - cgroup2 ") {
			return strings.Fields(line)[4]
		}
	}
	must(errors.New("no cgroup2 mount"))
	return ""
}

func mountCgroup2() { must(unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")) }

// refuse makes the kernel answer errno to what program matches, in every thread
// of this process and its children, seccomp(2).
func refuse(errno unix.Errno, program ...unix.SockFilter) error {
	program = append(program,
		unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Under no_new_privs everybody may; TSYNC needs it in every thread, and sets it.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return os.NewSyscallError("seccomp", e)
	}
	return nil
}

// The places in struct seccomp_data, little-endian.
const dataNumber, dataArg0 = 0, 16

// Each program ends before the two returns that refuse appends: allow, refuse.
var (
	refuseClone3 = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNumber},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE3, Jt: 1, Jf: 0},
	}
	// refuseExitSignal: processes are made with SIGCHLD for their end, or share memory.
	refuseExitSignal = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNumber},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jt: 0, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataArg0},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_VM, Jt: 2, Jf: 0},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xff},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(unix.SIGCHLD), Jt: 0, Jf: 1},
	}
	refuseNewUser = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataNumber},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jt: 1, Jf: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_UNSHARE, Jt: 0, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: dataArg0},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_NEWUSER, Jt: 1, Jf: 0},
	}
)

func init() { Roles["probe"] = probeRole }

// probeRole says what a strategy's probe finds in a world, then what is resolved
// there by default.
func probeRole() {
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	worlds[os.Getenv(worldEnv)]()
	s := byName(os.Getenv(strategyEnv))
	if err := registry.Probe(context.Background(), s); err == nil {
		say("usable")
	} else if errors.Is(err, errors.ErrUnsupported) {
		say("unsupported: %v", err)
	} else {
		say("error: %v", err)
	}
	// That Install says the same, and undoes what it has done, counts as much.
	if i, err := s.Install(context.Background(), registry.InstallOptions{OutliveParent: true}); err == nil {
		cmd := exec.Command("/bin/true")
		_, err := registry.Start(i, cmd, registry.StartOptions{})
		must(err)
		must(cmd.Wait())
		must(i.Close(context.Background()))
		say("installed")
	} else {
		say("%v: %v", errors.Is(err, errors.ErrUnsupported), err)
	}
	res, err := registry.Default().Resolve(context.Background(), registry.PlatformLinux, registry.Wanted{})
	say("%s %v %v", res.Description.Name, res.Skipped, err)
}

// inWorld plays the role probe.
func inWorld(t *testing.T, world, strategy string, change func(*exec.Cmd)) (probed, installed, resolved string) {
	t.Helper()
	asRoot(t)
	cmd := role("probe", worldEnv+"="+world, strategyEnv+"="+strategy)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if change != nil {
		change(cmd)
	}
	lines := strings.Split(played(t, cmd), "\n")
	if len(lines) < 3 {
		t.Fatalf("the role said %q", lines)
	}
	t.Logf("%s", strings.Join(lines[:3], "\n"))
	return lines[0], lines[1], lines[2]
}

// Each thing that keeps linux/cgroup from working is named together with what to
// do, and what comes next is linux/subreaper.
func TestCgroupRefusals(t *testing.T) {
	for _, tt := range []struct {
		what, world string
		change      func(*testing.T, *exec.Cmd)
		want        []string
	}{
		{what: "seccomp answers ENOSYS", world: "seccomp ENOSYS", want: []string{"function not implemented", "clone3"}},
		{what: "seccomp answers EPERM", world: "seccomp EPERM", want: []string{"operation not permitted", "clone3"}},
		{what: "read-only", world: "read-only cgroup2", want: []string{"read-only file system", "writable"}},
		{what: "no cgroup2", world: "no cgroup2", want: []string{"no cgroup2 file system is mounted"}},
		{what: "no permission", world: "nobody", want: []string{"permission denied", "Delegate=yes"}},
		{what: "in a cgroup namespace whose hierarchy is not mounted", world: "namespace",
			change: func(t *testing.T, cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWCGROUP },
			want:   []string{"no cgroup2 mount shows"}},
		{what: "full", change: func(t *testing.T, cmd *exec.Cmd) {
			a := newArena(t)
			put(t, a.group, "cgroup.max.descendants", "0")
			a.into(cmd)
		}, want: []string{"cgroup.max.descendants"}},
		{what: "threaded", change: func(t *testing.T, cmd *exec.Cmd) {
			a := newArena(t)
			threaded := &arena{t, a.group.Sub("threaded")}
			if err := threaded.group.Make(); err != nil {
				t.Fatal(err)
			}
			put(t, threaded.group, "cgroup.type", "threaded")
			threaded.into(cmd)
		}, want: []string{"threaded"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if tt.world == "seccomp EPERM" && raceEnabled() {
				t.Skip("the race detector's C library starts threads by clone3, too, and takes EPERM for an answer")
			}
			needCgroup(t)
			change := func(cmd *exec.Cmd) {
				if tt.change != nil {
					tt.change(t, cmd)
				}
			}
			if strings.HasPrefix(tt.what, "in a cgroup namespace") {
				outer := newArena(t)
				nested(t, outer, tt.world, CgroupName, tt.want)
				return
			}
			probed, installed, resolved := inWorld(t, tt.world, CgroupName, change)
			refused(t, probed, installed, resolved, tt.want)
		})
	}
}

func refused(t *testing.T, probed, installed, resolved string, want []string) {
	t.Helper()
	for _, w := range want {
		if !strings.HasPrefix(probed, "unsupported: ") || !strings.Contains(probed, w) {
			t.Errorf("the probe says %q, want it to say %q", probed, w)
		}
		if !strings.HasPrefix(installed, "true: ") || !strings.Contains(installed, w) {
			t.Errorf("Install says %q, want it to say %q", installed, w)
		}
	}
	if !strings.HasPrefix(resolved, SubreaperName+" ") || !strings.Contains(resolved, CgroupName+": ") {
		t.Errorf("resolved %q, want %s and why not %s", resolved, SubreaperName, CgroupName)
	}
}

func put(t *testing.T, g cgroupfs.Group, file, value string) {
	t.Helper()
	if err := os.WriteFile(string(g)+"/"+file, []byte(value), 0); err != nil {
		t.Skip(err)
	}
}

func init() { Roles["nested"] = nestedRole }

// nestedRole starts the role probe in a cgroup namespace, whose root is the
// cgroup of the process that makes it, cgroup_namespaces(7).
func nestedRole() {
	cmd := role("probe")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP}
	must(cmd.Run())
}

func nested(t *testing.T, a *arena, world, strategy string, want []string) {
	t.Helper()
	asRoot(t)
	cmd := a.into(role("nested", worldEnv+"="+world, strategyEnv+"="+strategy))
	lines := strings.Split(played(t, cmd), "\n")
	t.Logf("%s", strings.Join(lines, "\n"))
	if len(lines) < 3 {
		t.Fatalf("the role said %q", lines)
	}
	if want != nil {
		refused(t, lines[0], lines[1], lines[2], want)
	} else if lines[0] != "usable" || lines[1] != "installed" || !strings.HasPrefix(lines[2], CgroupName+" [") {
		t.Errorf("it said %q", lines)
	}
}

// A container has a cgroup namespace and a mount that begins at its root.
func TestCgroupInACgroupNamespace(t *testing.T) {
	a := newArena(t)
	nested(t, a, "namespace, mounted", CgroupName, nil)
	if left := a.trees(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The controls: here, and in each world without what makes it special, it works.
func TestCgroupProbe(t *testing.T) {
	needCgroup(t)
	for what, world := range map[string]string{"plain": "", "user namespaces refused": "seccomp new users"} {
		t.Run(what, func(t *testing.T) {
			a := newArena(t)
			probed, installed, resolved := inWorld(t, world, CgroupName, func(cmd *exec.Cmd) { a.into(cmd) })
			if probed != "usable" || installed != "installed" || !strings.HasPrefix(resolved, CgroupName+" [") {
				t.Errorf("probe %q, install %q, resolved %q", probed, installed, resolved)
			}
			if left := a.trees(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// delegate gives the arena to a user, as systemd does with Delegate=yes.
func (a *arena) delegate(uid int) {
	a.t.Helper()
	for _, file := range []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"} {
		if err := os.Chown(string(a.group)+file, uid, uid); err != nil {
			a.t.Fatal(err)
		}
	}
}

// asNobody lets a role run as a user without privileges. The test binary's own
// directory may be closed to that user; the link in /proc is not.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.Path = "/proc/self/exe"
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	cmd.Dir = "/"
	return cmd
}

// In a subtree that was delegated an unprivileged service has all of it.
func TestCgroupDelegated(t *testing.T) {
	asRoot(t)
	for name, end := range ownersEnds {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			a.delegate(65534)
			l := newLiveness(t)
			s := startService(t, asNobody(a.into(l.carry(role("owner", strategyEnv+"="+CgroupName)))))
			l.let()
			s.hear()
			l.expect(treeLines...)
			end(s)
			l.wantGone()
			a.wantNoTrees()
		})
	}
	t.Run("a supervisor is replaced", func(t *testing.T) {
		a := newArena(t)
		a.delegate(65534)
		l := newLiveness(t)
		s := startService(t, asNobody(a.into(l.carry(role("cgroup-service")))))
		l.let()
		s.mustDo("install", "start 2")
		if err := unix.Kill(supervisorsOf(t, s.cmd.Process.Pid)[0].PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.mustDo("start 1", "alive", "close")
		l.let()
		if left := a.trees(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		_ = s.cmd.Process.Kill()
		l.wantGone()
	})
}

// What is tried by the probe is undone, every time.
func TestCgroupProbeLeavesNothing(t *testing.T) {
	needCgroup(t)
	before := len(descriptors(os.Getpid()))
	for range 20 {
		needCgroup(t)
	}
	if after := len(descriptors(os.Getpid())); after > before {
		t.Errorf("%d descriptors, before it was %d", after, before)
	}
	own, err := cgroupfs.Own()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(string(own))
	if err != nil {
		t.Fatal(err)
	}
	mine := fmt.Sprintf("%s%d-", cgroupfs.Prefix, os.Getpid())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), mine) {
			t.Errorf("left: %s", e.Name())
		}
	}
}
