package cgroupfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const limit = 10 * time.Second

func soon() time.Time { return time.Now().Add(limit) }

// group returns a group for a test, with nothing in it and no prefix: other
// packages' tests sweep at the same time.
func group(t testing.TB) Group {
	t.Helper()
	own, err := Own()
	if err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp(string(own), "cgroupfs-test-")
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	g := Group(dir)
	t.Cleanup(func() {
		if err := g.End(soon()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// mustMake makes g and what is missing above it.
func mustMake(t testing.TB, g Group) Group {
	t.Helper()
	if err := os.MkdirAll(string(g), 0o755); err != nil {
		t.Fatal(err)
	}
	return g
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

func start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// born starts a command inside g.
func born(t testing.TB, g Group, name string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(string(g))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := command(name, args...)
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	start(t, cmd)
	return cmd
}

func alive(cmd *exec.Cmd) bool {
	return unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil &&
		!zombie(cmd.Process.Pid)
}

// zombie reports whether pid has exited, by proc_pid_stat(5).
func zombie(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	return err != nil || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func wantAlive(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if !alive(cmd) {
		t.Errorf("process %d (%s) has ended", cmd.Process.Pid, cmd)
	}
}

// wantKilled waits for the end of a child by SIGKILL.
func wantKilled(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Signal(unix.SIGABRT) })
	defer timer.Stop()
	_ = cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != unix.SIGKILL {
		t.Errorf("process %d ended with %v, not by SIGKILL", cmd.Process.Pid, cmd.ProcessState)
	}
}

// bothWays runs f with cgroup.kill and as on a kernel without it.
func bothWays(t *testing.T, f func(t *testing.T)) {
	t.Run("cgroup.kill", f)
	t.Run("by freezing", func(t *testing.T) {
		before := killFile
		killFile = "cgroup.kill-is-missing"
		defer func() { killFile = before }()
		f(t)
	})
}

// Nobody escapes: neither stopped nor in a nested group, nor deaf, nor moving on
// by forking and exiting.
func TestEnd(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		g := mustMake(t, group(t).Sub(Prefix+"1-x"))
		sibling := born(t, mustMake(t, Group(filepath.Dir(string(g))).Sub(Prefix+"1-y")), "sleep", "1000")
		stopped := born(t, g, "sleep", "1000")
		_ = stopped.Process.Signal(unix.SIGSTOP)
		below := born(t, mustMake(t, g.Sub("b1").Sub("c")), "sleep", "1000")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		deaf := command("sh", "-c", `trap "" TERM HUP INT QUIT; echo; while :; do sleep 1000; done`)
		deaf.Stdout = w
		startIn(t, g, deaf)
		w.Close()
		_, _ = r.Read(make([]byte, 1))
		for range 3 {
			born(t, g, "sh", "-c", runaway)
		}
		if err := g.End(soon()); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range []*exec.Cmd{stopped, below, deaf} {
			wantKilled(t, cmd)
		}
		wantAlive(t, sibling)
		if _, err := os.Stat(string(g)); !os.IsNotExist(err) {
			t.Error("the group is left")
		}
	})
}

// runaway forks and exits, again and again: at no time are there more than a few
// of it, and a PID that was read is out of date.
const runaway = `F='sh -c "$F" & exit'; export F; sh -c "$F"`

func startIn(t testing.TB, g Group, cmd *exec.Cmd) {
	t.Helper()
	dir, err := os.Open(string(g))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	start(t, cmd)
}

// A frozen group is killed, too: a backend may have frozen itself.
func TestEndOfFrozen(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		g := mustMake(t, group(t).Sub(Prefix+"1-x"))
		p := born(t, g, "sleep", "1000")
		if err := os.WriteFile(g.file("cgroup.freeze"), []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		if err := g.waitFor("frozen 1", soon()); err != nil {
			t.Fatal(err)
		}
		if err := g.End(soon()); err != nil {
			t.Fatal(err)
		}
		wantKilled(t, p)
	})
}

// In a threaded group cgroup.kill and cgroup.procs answer EOPNOTSUPP. A backend
// that may write to its group can make it so.
func TestEndOfThreaded(t *testing.T) {
	g := mustMake(t, group(t).Sub(Prefix+"1-x").Sub("b1"))
	p := born(t, g, "sleep", "1000")
	if err := os.WriteFile(g.file("cgroup.type"), []byte("threaded"), 0); err != nil {
		t.Skipf("this group cannot be made threaded: %v", err)
	}
	if err := g.End(soon()); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, p)
}

// A zombie that nobody has waited for keeps no group; a living process does.
func TestWaitEmptyAndRemove(t *testing.T) {
	g := mustMake(t, group(t).Sub("a"))
	nested := mustMake(t, g.Sub("b").Sub("c"))
	p := born(t, nested, "sleep", "1000")
	if err := g.WaitEmpty(time.Now().Add(20 * time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v; want a deadline that is exceeded", err)
	}
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Fatalf("%v; want EBUSY", err)
	}
	waited := make(chan error)
	go func() { waited <- g.WaitEmpty(time.Time{}) }()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waited:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(limit):
		t.Fatal("WaitEmpty does not return")
	}
	if !zombie(p.Process.Pid) {
		t.Fatal("the process is no zombie, the test is void")
	}
	if pids, err := g.PIDs(); err != nil || len(pids) != 0 {
		t.Errorf("members %v (%v)", pids, err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"WaitEmpty": g.WaitEmpty(soon()), "Remove": g.Remove(), "Kill": g.Kill(),
		"Signal": g.Signal(unix.SIGTERM), "End": g.End(soon()),
	} {
		if err != nil {
			t.Errorf("%s of a group that is gone: %v", what, err)
		}
	}
}

func TestPIDs(t *testing.T) {
	g := group(t)
	a, b := born(t, g, "sleep", "1000"), born(t, mustMake(t, g.Sub("x").Sub("y")), "sleep", "1000")
	got, err := g.PIDs()
	slices.Sort(got)
	want := []int{a.Process.Pid, b.Process.Pid}
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
}

// A PID is signalled only while it belongs to a member: it may have been reused.
func TestSignalSparesOthers(t *testing.T) {
	parent := group(t)
	g, other := mustMake(t, parent.Sub(Prefix+"1-x")), mustMake(t, parent.Sub(Prefix+"1-xy"))
	member, stranger := born(t, g, "sleep", "1000"), born(t, other, "sleep", "1000")
	outside := command("sleep", "1000")
	start(t, outside)
	for _, cmd := range []*exec.Cmd{stranger, outside} {
		if err := g.signal(cmd.Process.Pid, unix.SIGKILL); err != unix.ESRCH {
			t.Errorf("signal to %d, no member: %v, want ESRCH", cmd.Process.Pid, err)
		}
		if err := g.Sub("b1").signal(member.Process.Pid, unix.SIGKILL); err != unix.ESRCH {
			t.Errorf("signal through a group that the process is not in: %v, want ESRCH", err)
		}
		wantAlive(t, cmd)
	}
	wantAlive(t, member)
	if err := g.signal(member.Process.Pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	wantKilled(t, member)
	if err := g.signal(member.Process.Pid, unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("signal to one that is gone: %v, want ESRCH", err)
	}
}

// The path in /proc begins at the cgroup namespace's root, that of the mount
// elsewhere: only from the tree on are they the same.
func TestSignalBelowTheRoot(t *testing.T) {
	for path, want := range map[Group]string{
		"/sys/fs/cgroup/unified/contain-1-ab":             "/contain-1-ab/",
		"/sys/fs/cgroup/contain-1-ab/b7":                  "/contain-1-ab/b7/",
		"/sys/fs/cgroup/contain-1-ab/b7/contain-2-cd":     "/contain-2-cd/",
		"/sys/fs/cgroup/x.service/contain-1-ab/b7/nested": "/contain-1-ab/b7/nested/",
	} {
		if got := path.suffix(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	group(t) // skips where there is none
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := MakeTree(own)
	if err != nil {
		t.Skip(err)
	}
	defer tree.Lock.Close()
	defer tree.End(soon())
	p := born(t, tree.Group, "sleep", "1000")
	if err := tree.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, p)
}

func TestMakeSaysWhichLimit(t *testing.T) {
	g := group(t)
	if err := os.WriteFile(g.file("cgroup.max.descendants"), []byte("0"), 0); err != nil {
		t.Skip(err)
	}
	err := g.Sub("a").Make()
	if !errors.Is(err, unix.EAGAIN) || !strings.Contains(err.Error(), "cgroup.max.descendants") {
		t.Errorf("%v; want EAGAIN and the name of the limit", err)
	}
}
