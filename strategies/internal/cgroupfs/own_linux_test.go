package cgroupfs

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lines as proc_pid_mountinfo(5) has them.
const (
	hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 - cgroup2 cgroup2 rw
`
	unifiedMounts = `24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
`
)

// TestUsual: the short way answers as mountinfo does, or not at all.
func TestUsual(t *testing.T) {
	mounts, err := readProc("/proc/self/mountinfo", 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/a/b", "/..a"} {
		got, ok := usual(path)
		want, err := locate(path, mounts)
		t.Logf("%s: %q %v, by mountinfo %q %v", path, got, ok, want, err)
		if ok && got != want {
			t.Errorf("%s: %q, by mountinfo %q", path, got, want)
		}
	}
	if g, ok := usual("/../a"); ok {
		t.Errorf("outside of the namespace: %q", g)
	}
}

func TestLocate(t *testing.T) {
	for _, tt := range []struct {
		what, path, mounts string
		want               Group
		refused            string
	}{
		{what: "version 2 only", path: "/user.slice/a.scope", mounts: unifiedMounts, want: "/sys/fs/cgroup/user.slice/a.scope"},
		{what: "hybrid", path: "/", mounts: hybridMounts, want: "/sys/fs/cgroup/unified"},
		{what: "hybrid, below", path: "/a/b", mounts: hybridMounts, want: "/sys/fs/cgroup/unified/a/b"},
		{what: "root of a cgroup namespace", path: "/",
			mounts: "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", want: "/sys/fs/cgroup"},
		{what: "a part, bound", path: "/docker/abc/x",
			mounts: "35 24 0:30 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", want: "/sys/fs/cgroup/x"},
		{what: "the part's own root", path: "/docker/abc",
			mounts: "35 24 0:30 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", want: "/sys/fs/cgroup"},
		{what: "another part first", path: "/b/x",
			mounts: "35 24 0:30 /a /mnt/a rw - cgroup2 cgroup rw\n36 24 0:30 /b /mnt/b rw - cgroup2 cgroup rw\n", want: "/mnt/b/x"},
		{what: "escapes", path: `/my unit\x2d1`,
			mounts: `35 24 0:30 / /mnt/with\040blank\134and\011tab rw - cgroup2 cgroup rw` + "\n", want: "/mnt/with blank\\and\ttab/my unit\\x2d1"},
		{what: "no optional fields, many optional fields", path: "/a",
			mounts: "35 24 0:30 / /m rw shared:1 master:2 propagate_from:3 unbindable - cgroup2 x rw\n", want: "/m/a"},

		{what: "a sibling with a longer name", path: "/docker/abcdef",
			mounts: "35 24 0:30 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n", refused: "no cgroup2 mount shows"},
		{what: "a part that is not ours", path: "/b",
			mounts: "35 24 0:30 /a /sys/fs/cgroup rw - cgroup2 cgroup rw\n", refused: "no cgroup2 mount shows"},
		{what: "mounted from outside the namespace", path: "/x",
			mounts: "35 24 0:30 /../other /sys/fs/cgroup rw - cgroup2 cgroup rw\n", refused: "no cgroup2 mount shows"},
		{what: "mounted above the namespace", path: "/",
			mounts: "35 24 0:30 /.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n", refused: "no cgroup2 mount shows"},
		{what: "a mount above the namespace and one of it", path: "/",
			mounts: "35 24 0:30 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n36 24 0:30 / /mnt rw - cgroup2 cgroup rw\n", want: "/mnt"},
		{what: "two dots in a name", path: "/..a", mounts: unifiedMounts, want: "/sys/fs/cgroup/..a"},
		{what: "just above", path: "/..", mounts: unifiedMounts, refused: "outside its cgroup namespace"},
		{what: "outside the namespace", path: "/../other", mounts: unifiedMounts, refused: "outside its cgroup namespace"},
		{what: "version 1 only", path: "/", mounts: "36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n", refused: "no cgroup2 file system is mounted"},
		{what: "nothing", path: "/", refused: "no cgroup2 file system is mounted"},
		{what: "nonsense", path: "/", mounts: "cgroup2\n - cgroup2\n1 2 3 - cgroup2 x rw\n35 24 0:30 / /m rw -\n", refused: "no cgroup2 file system is mounted"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			got, err := locate(tt.path, []byte(tt.mounts))
			if got != tt.want || (err != nil) != (tt.refused != "") {
				t.Fatalf("%q, %v; want %q", got, err, tt.want)
			}
			if err != nil && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("%v; want one that wraps ErrUnsupported and says %q", err, tt.refused)
			}
		})
	}
}

func TestUnified(t *testing.T) {
	for _, tt := range []struct {
		procs, want string
		ok          bool
	}{
		{"9:name=systemd:/x\n1:cpu:/y\n0::/a/b\n", "/a/b", true},
		{"0::/\n", "/", true},
		{"0::/with: colons\n", "/with: colons", true},
		{"0::/removed (deleted)\n", "/removed (deleted)", true},
		{"9:name=systemd:/x\n1:cpu:/0::/\n", "", false},
		{"", "", false},
	} {
		if got, ok := unified([]byte(tt.procs)); got != tt.want || ok != tt.ok {
			t.Errorf("unified(%q) = %q, %v", tt.procs, got, ok)
		}
	}
}

func TestClaimable(t *testing.T) {
	const root = "/sys/fs/cgroup"
	for _, tt := range []struct {
		what                   string
		group                  Group
		systemd, namespaceRoot bool
		delegated              []Group
		refused                string // what the error names
	}{
		{what: "no systemd", group: root + "/system.slice/a.service"},
		{what: "no systemd, at the top", group: root},
		{what: "root of a cgroup namespace", group: root, systemd: true, namespaceRoot: true},
		{what: "a delegated service", group: root + "/system.slice/a.service", systemd: true,
			delegated: []Group{root + "/system.slice/a.service"}},
		{what: "below a delegated service", group: root + "/system.slice/a.service/payload/x", systemd: true,
			delegated: []Group{root + "/system.slice/a.service"}},
		{what: "a delegated scope", group: root + "/user.slice/run-1.scope", systemd: true,
			delegated: []Group{root + "/user.slice/run-1.scope"}},
		{what: "a service", group: root + "/system.slice/a.service", systemd: true, refused: "a.service"},
		{what: "below a service", group: root + "/system.slice/a.service/x", systemd: true, refused: "a.service"},
		{what: "a login session", group: root + "/user.slice/user-1000.slice/session-2.scope", systemd: true, refused: "session-2.scope"},
		{what: "a unit of a user's manager, which itself is delegated",
			group:     root + "/user.slice/user-1000.slice/user@1000.service/app.slice/b.service",
			systemd:   true,
			delegated: []Group{root + "/user.slice/user-1000.slice/user@1000.service"}, refused: "b.service"},
		{what: "the top", group: root, systemd: true, refused: root},
		{what: "in no unit", group: root + "/made-by-hand", systemd: true, refused: "made-by-hand"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			err := tt.group.claimable(tt.systemd, tt.namespaceRoot, func(g Group) bool { return slices.Contains(tt.delegated, g) })
			if (err != nil) != (tt.refused != "") {
				t.Fatal(err)
			}
			if err != nil && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), tt.refused+" ") &&
				!strings.Contains(err.Error(), tt.refused+";") || !strings.Contains(err.Error(), "Delegate=yes")) {
				t.Errorf("%v; want the unit %q and the setting", err, tt.refused)
			}
		})
	}
}

// systemd marks what it delegates with an extended attribute.
func TestDelegatedReadsTheMark(t *testing.T) {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		g := group(t)
		if g.delegated() {
			t.Fatal("delegated without a mark")
		}
		if err := unix.Setxattr(string(g), name, []byte("1"), 0); err != nil {
			t.Logf("%s cannot be set here: %v", name, err)
			continue
		}
		if !g.delegated() {
			t.Errorf("%s=1 is not seen", name)
		}
		if err := unix.Setxattr(string(g), name, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		if g.delegated() {
			t.Errorf("%s=0 counts as delegated", name)
		}
	}
}

// A user's manager sets no mark.
func TestTransientFile(t *testing.T) {
	for group, want := range map[Group]string{
		"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope": "/run/user/1000/systemd/transient/run-1.scope",
		"/sys/fs/cgroup/user.slice/user-1001.slice/user@1001.service/app.slice/run-1.scope": "",
		"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service":                       "",
		"/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope":                         "",
		"/sys/fs/cgroup/system.slice/user@..service/run-1.scope":                            "",
		"/sys/fs/cgroup/system.slice/run-1.scope":                                           "",
	} {
		if got := group.transientFile(1000); got != want {
			t.Errorf("%s: %q, want %q", group, got, want)
		}
	}
}

func TestDelegates(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                      false,
		"[Scope]\nDelegate=yes\n":               true,
		"[Service]\nDelegate=cpu memory":        true,
		"[Service]\nDelegate=\n":                true,
		"[Service]\nDelegate=no\n":              false,
		"Delegate=yes\nDelegate=no\n":           false,
		"Delegate=no\n Delegate=1\n":            true,
		"#Delegate=yes\nDelegateSubgroup=x\n":   false,
		"[Service]\nExecStart=x Delegate=yes\n": false,
	} {
		if got := delegates(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestMakeTree(t *testing.T) {
	parent := group(t)
	a, err := MakeTree(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Lock.Close()
	b, err := MakeTree(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Lock.Close()
	if a.Group == b.Group {
		t.Fatal("two trees have one name")
	}
	if f, err := a.lock(); err == nil {
		f.Close()
		t.Error("a lock that is held was taken")
	}
	if err := Sweep(parent, soon()); err != nil {
		t.Error(err)
	}
	for _, tree := range []*Tree{a, b} {
		if _, err := os.Stat(string(tree.Group)); err != nil {
			t.Error(err)
		}
	}
}

// What dead owners left is ended; what has a living one, and what is not ours, is not.
func TestSweep(t *testing.T) {
	parent := group(t)
	left := mustMake(t, parent.Sub(Prefix+"1-0123abcd"))
	nested := mustMake(t, left.Sub("b1").Sub("nested"))
	stopped, below := born(t, left, "sleep", "1000"), born(t, nested, "sleep", "1000")
	if err := stopped.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	owned, err := MakeTree(parent)
	if err != nil {
		t.Fatal(err)
	}
	living := born(t, owned.Group, "sleep", "1000")
	var aliens []*exec.Cmd
	for _, name := range []string{"con", Prefix + "test", Prefix + "1-left", Prefix + "1-0123ABCD", Prefix + "1-0123abcd-2", Prefix + "x-0123abcd"} {
		aliens = append(aliens, born(t, mustMake(t, parent.Sub(name)), "sleep", "1000"))
	}

	if err := Sweep(parent, soon()); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, stopped)
	wantKilled(t, below)
	if _, err := os.Stat(string(left)); !os.IsNotExist(err) {
		t.Errorf("the tree of a dead owner is left: %v", err)
	}
	wantAlive(t, living)

	owned.Lock.Close() // the owner has died
	if err := Sweep(parent, soon()); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, living)
	for _, alien := range aliens {
		wantAlive(t, alien)
	}
}

// A stranger cannot open an owner's group, whose lock would keep it from the sweep once
// the owner is dead, but reach what is in it.
func TestStrangersCannotLock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be a stranger")
	}
	parent := group(t)
	if err := os.Chmod(string(parent), 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := MakeTree(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Lock.Close()
	backend := mustMake(t, tree.Sub("b1"))
	stranger := func(script string) error {
		cmd := exec.Command("sh", "-c", script, string(tree.Group), string(backend))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd.Run()
	}
	if err := stranger(`exec 9<"$1"`); err != nil {
		t.Fatalf("control: a stranger cannot open a directory that everybody may read: %v", err)
	}
	if stranger(`exec 9<"$0"`) == nil {
		t.Error("a stranger can open the group, and so lock it")
	}
	if err := stranger(`read -r populated _ <"$1"/cgroup.events && [ "$populated" = populated ]`); err != nil {
		t.Errorf("a stranger cannot read what is in the group: %v", err)
	}
}

// The lock is held for as long as anybody has the descriptor: a supervisor is
// enough.
func TestLockIsInherited(t *testing.T) {
	parent := group(t)
	tree, err := MakeTree(parent)
	if err != nil {
		t.Fatal(err)
	}
	living := born(t, tree.Group, "sleep", "1000")
	supervisor := command("sleep", "1000")
	supervisor.ExtraFiles = []*os.File{tree.Lock}
	start(t, supervisor)
	tree.Lock.Close()
	if err := Sweep(parent, soon()); err != nil {
		t.Fatal(err)
	}
	wantAlive(t, living)
	_ = supervisor.Process.Kill()
	_ = supervisor.Wait()
	if err := Sweep(parent, soon()); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, living)
}

// A tree whose end cannot be reached in time is an error and stays for the next sweep.
func TestSweepSaysWhatIsLeft(t *testing.T) {
	parent := group(t)
	left := mustMake(t, parent.Sub(Prefix+"1-0123abcd"))
	p := born(t, left, "sleep", "1000")
	err := Sweep(parent, time.Now().Add(-time.Second))
	if err == nil {
		t.Fatal("a sweep without time reports success")
	}
	wantKilled(t, p)
	if err := Sweep(parent, soon()); err != nil {
		t.Error(err)
	}
}
