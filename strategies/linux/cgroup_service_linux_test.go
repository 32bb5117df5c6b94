package linux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

func init() { Roles["cgroup-service"] = cgroupServiceRole }

// cgroupServiceRole is a service that does as it is told, a word or two a line.
func cgroupServiceRole() {
	unix.CloseOnExec(3)
	live := os.NewFile(3, "liveness")
	var installed []registry.Installation
	var backends []registry.Process
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word, arg, _ := strings.Cut(lines.Text(), " ")
		var err error
		switch word {
		case "install":
			var i registry.Installation
			i, err = Cgroup().Install(context.Background(), registry.InstallOptions{OutliveParent: true, Supervisor: arg})
			installed = append(installed, i)
		case "start": // that many backends, from the latest installation
			n, _ := strconv.Atoi(arg)
			var ps []registry.Process
			ps, err = startMany(installed[len(installed)-1], live, n)
			backends = append(backends, ps...)
		case "alive":
			for _, p := range backends {
				if ms, e := p.Members(); e != nil || len(ms) == 0 {
					err = fmt.Errorf("backend %d: members %v, %v", p.PID(), ms, e)
				}
			}
		case "drop": // what root's rights are
			err = errors.Join(unix.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534))
		case "kill": // the oldest
			if err = backends[0].Kill(); err == nil {
				<-backends[0].Done()
				backends = backends[1:]
			}
		case "close":
			last := len(installed) - 1
			err = installed[last].Close(context.Background())
			installed = installed[:last]
		}
		if err != nil {
			say("%v", err)
		} else {
			say("ok")
		}
	}
}

// startMany starts sleeping backends, some at a time.
func startMany(i registry.Installation, live *os.File, n int) ([]registry.Process, error) {
	ps, errs := make([]registry.Process, n), make([]error, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for j := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			cmd := exec.Command("sleep", "1000")
			cmd.ExtraFiles = []*os.File{live}
			ps[j], errs[j] = registry.Start(i, cmd, registry.StartOptions{})
			if errs[j] == nil {
				go cmd.Wait()
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(ps, func(p registry.Process) bool { return p == nil }), errors.Join(errs...)
}

// ask tells the service something and hears the answer.
func (s *service) ask(line string) string {
	s.t.Helper()
	s.tell(line)
	return s.hear()
}

func (s *service) mustDo(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		if got := s.ask(line); got != "ok" {
			s.t.Fatalf("%s: %s", line, got)
		}
	}
}

func (a *arena) service() (*service, *liveness) {
	a.t.Helper()
	l := newLiveness(a.t)
	s := startService(a.t, a.into(l.carry(role("cgroup-service"))))
	l.let()
	return s, l
}

// Any number of backends has one supervisor, of bounded size.
func TestCgroupManyBackends(t *testing.T) {
	n := 200
	if os.Getenv("CONTAIN_FULL") == "1" {
		n = 1000
	}
	a := newArena(t)
	s, l := a.service()
	s.mustDo("install", fmt.Sprint("start ", n))
	supers := supervisorsOf(t, s.cmd.Process.Pid)
	if len(supers) != 1 {
		t.Fatalf("%d backends have supervisors %v, want one", n, supers)
	}
	if got := len(childrenOf(t, s.cmd.Process.Pid)); got != n+1 {
		t.Errorf("the service has %d children, want %d backends and a supervisor", got, n)
	}
	pss := proportionalKiB(t, supers[0].PID)
	t.Logf("supervisor of %d backends: PSS %d KiB", n, pss)
	if !raceEnabled() && pss > 2<<10 {
		t.Errorf("PSS of the supervisor is %d KiB, more than 2 MiB", pss)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	l.wantGone()
	a.wantNoTrees()
}

// proportionalKiB returns a process's Pss, proc_pid_smaps(5).
func proportionalKiB(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatalf("no Pss in %s", b)
	return 0
}

// raceEnabled reports whether this test binary has the race detector in it.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// A supervisor that is killed is replaced: backends live, new ones start, and the
// owner's end is still the end of all.
func TestCgroupSupervisorIsReplaced(t *testing.T) {
	a := newArena(t)
	s, l := a.service()
	s.mustDo("install", "start 3")
	for range 3 {
		before := supervisorsOf(t, s.cmd.Process.Pid)[0]
		if err := proctree.Signal(before, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.mustDo("start 1", "alive")
		eventually(t, "another supervisor", func() bool {
			now := supervisorsOf(t, s.cmd.Process.Pid)
			return len(now) == 1 && !now[0].Same(before) && isTold(now[0])
		})
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	l.wantGone()
	a.wantNoTrees()
}

// While no supervisor can be had, no backend starts; once one can, it does.
func TestCgroupSupervisorCannotBeReplaced(t *testing.T) {
	a := newArena(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "supervisor")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	s, l := a.service()
	s.mustDo("install "+path, "start 2")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	pid := s.cmd.Process.Pid
	if err := proctree.Signal(supervisorsOf(t, pid)[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its supervisor is gone", func() bool { return len(supervisorsOf(t, pid)) == 0 })
	for range 2 {
		got := s.ask("start 1")
		if !strings.Contains(got, "could not be replaced") || !strings.Contains(got, path) {
			t.Errorf("Start without a supervisor: %s", got)
		}
	}
	s.mustDo("alive")
	if n := len(childrenOf(t, pid)); n != 2 {
		t.Errorf("%d children, want the two backends", n)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	s.mustDo("start 1", "alive")
	if n := len(supervisorsOf(t, pid)); n != 1 {
		t.Errorf("%d supervisors", n)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	l.wantGone()
	a.wantNoTrees()
}

// With owner and supervisor killed at once the kernel ends the leader alone, and
// the next Install of anybody in that cgroup the rest. A living neighbour's
// backends are not touched.
func TestCgroupBothKilled(t *testing.T) {
	a := newArena(t)
	neighbour, nl := a.service()
	neighbour.mustDo("install", "start 2")
	s, l := a.owner(CgroupName)
	super := supervisorsOf(t, s.cmd.Process.Pid)[0]
	leader := slices.DeleteFunc(childrenOf(t, s.cmd.Process.Pid), func(p proctree.Process) bool { return p.Same(super) })[0]
	killBoth(t, s.cmd, super)
	eventually(t, "the leader is gone", func() bool {
		p, err := proctree.Lookup(leader.PID)
		return err != nil || !p.Same(leader) || p.Zombie
	})
	if left := l.holders(); len(left) < 3 {
		t.Errorf("only %v is left: declare a longer reach", left)
	}
	if n := len(a.trees()); n != 2 {
		t.Errorf("%d trees, want the neighbour's and the one that was left", n)
	}
	next, _ := a.service()
	next.mustDo("install")
	l.wantGone()
	if n := len(a.trees()); n != 2 {
		t.Errorf("%d trees, want those of the two living", n)
	}
	neighbour.mustDo("alive", "start 1")
	_ = neighbour.cmd.Process.Kill()
	nl.wantGone()
}

// killBoth kills supervisor and owner as if in the same instant: a stopped owner
// does not replace its supervisor. (A stopped supervisor would wake up.)
func killBoth(t *testing.T, owner *exec.Cmd, super proctree.Process) {
	t.Helper()
	p, err := proctree.Lookup(owner.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, p)
	if err := proctree.Signal(super, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor is gone", func() bool {
		now, err := proctree.Lookup(super.PID)
		return err != nil || !now.Same(super) || now.Zombie
	})
	_ = owner.Process.Kill()
	_ = owner.Wait()
}

// contain run sweeps, too, before it starts the command: that may need what the
// others hold.
func TestCgroupRunSweeps(t *testing.T) {
	a := newArena(t)
	s, l := a.owner(CgroupName)
	killBoth(t, s.cmd, supervisorsOf(t, s.cmd.Process.Pid)[0])
	left := l.holders()
	if len(left) < 3 {
		t.Fatalf("only %v is left", left)
	}
	script := ""
	for _, p := range left {
		script += fmt.Sprintf("grep -q '^State:.*[^Z] (' /proc/%d/status 2>/dev/null && echo %[1]d lives\n", p.PID)
	}
	if said := played(t, a.into(role("cgroup-run", "SCRIPT="+script+"exit 0"))); said != "" {
		t.Error(said)
	}
	l.wantGone()
	a.wantNoTrees()
}

func init() { Roles["cgroup-run"] = cgroupRunRole }

func cgroupRunRole() {
	res, err := Cgroup().(registry.Runner).Run(context.Background(), exec.Command("sh", "-c", os.Getenv("SCRIPT")), registry.RunOptions{})
	must(err)
	os.Exit(res.ExitCode)
}

func init() { Roles["second-run"] = secondRunRole }

// secondRunRole runs SCRIPT under linux/cgroup and, if that cannot be, under
// linux/subreaper, as contain run does, in one process.
func secondRunRole() {
	cmd := exec.Command("sh", "-c", os.Getenv("SCRIPT"))
	if file := os.Getenv("FILE"); file != "" {
		cmd = exec.Command(file)
	}
	opts := registry.RunOptions{DieWithParent: true} // as contain run, whose descriptors are most
	_, err := Cgroup().(registry.Runner).Run(context.Background(), cmd, opts)
	if !errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("linux/cgroup works:", err)
		os.Exit(1)
	}
	_, err = Subreaper().(registry.Runner).Run(context.Background(), cmd, opts)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// TestRunSecondStrategy: a Runner that was refused the birth of the command leaves
// nothing behind of its attempt that the next one would stumble over.
func TestRunSecondStrategy(t *testing.T) {
	inDomainThreaded := func(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
		a := newArena(t)
		below := a.group.Sub("t")
		if err := below.Make(); err != nil {
			t.Fatal(err)
		}
		put(t, below, "cgroup.type", "threaded")
		return a.into(cmd)
	}
	t.Run("the runner is killed", func(t *testing.T) {
		l := newLiveness(t)
		cmd := inDomainThreaded(t, role("second-run", "SCRIPT=exec 3>&2;"+treeScript))
		cmd.Stderr = l.w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		l.let()
		l.expect(treeLines...)
		_ = cmd.Process.Kill()
		l.wantGone()
		_ = cmd.Wait()
	})
	t.Run("the command cannot be executed", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := inDomainThreaded(t, role("second-run", "FILE="+file)).Output()
		if err == nil || !strings.Contains(string(out), file+": no such file or directory") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// The Runner's tree ends with the command, with itself, and with its supervisor.
func TestCgroupRun(t *testing.T) {
	for what, kill := range map[string]func(t *testing.T, runner int){
		"the runner is killed": func(*testing.T, int) {},
		"the supervisor is killed": func(t *testing.T, runner int) {
			if err := proctree.Signal(supervisorsOf(t, runner)[0], unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		"the command ends": func(t *testing.T, runner int) {
			super := supervisorsOf(t, runner)[0]
			for _, p := range childrenOf(t, super.PID) {
				_ = proctree.Signal(p, unix.SIGTERM)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			a := newArena(t)
			l := newLiveness(t)
			// Run closes what is not the command's, so the tree gets its pipe as standard error.
			cmd := a.into(role("cgroup-run", "SCRIPT=exec 3>&2;"+treeScript))
			cmd.Stderr = l.w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			l.let()
			l.expect(treeLines...)
			if what == "the runner is killed" {
				_ = cmd.Process.Kill()
			}
			kill(t, cmd.Process.Pid)
			l.wantGone()
			_ = cmd.Wait()
			if what == "the runner is killed" {
				a.wantNoTrees()
			} else if left := a.trees(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestCgroupTwoInstalls(t *testing.T) {
	a := newArena(t)
	s, l := a.service()
	pid := s.cmd.Process.Pid
	s.mustDo("install", "start 1", "install", "start 2")
	if n := len(supervisorsOf(t, pid)); n != 1 || len(a.trees()) != 1 {
		t.Errorf("two installations have %d supervisors and the trees %v", n, a.trees())
	}
	s.mustDo("close")
	eventually(t, "only the first's backend and the supervisor are left", func() bool { return len(childrenOf(t, pid)) == 2 })
	if n := len(supervisorsOf(t, pid)); n != 1 {
		t.Errorf("%d supervisors", n)
	}
	s.mustDo("start 1", "close")
	if n, trees := len(childrenOf(t, pid)), a.trees(); n != 0 || len(trees) != 0 {
		t.Errorf("after the last Close there are %d children and the trees %v", n, trees)
	}
	s.mustDo("install", "start 1", "close", "install")
	_ = s.in.Close()
	_ = s.cmd.Wait()
	l.wantGone()
	a.wantNoTrees()
}

func TestCgroupClose(t *testing.T) {
	needCgroup(t)
	i, err := Cgroup().Install(t.Context(), registry.InstallOptions{OutliveParent: true})
	if err != nil {
		t.Fatal(err)
	}
	tree := i.(*cgroupInstallation).service.tree.Group
	p, cmd, l, _ := startCrowd(t, i, moving)
	for range 2 {
		if err := i.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l.wantGone()
	waitDone(t, p)
	_ = cmd.Wait()
	if _, err := os.Stat(string(tree)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cgroup is left: %v", err)
	}
	if _, err := registry.Start(i, exec.Command("true"), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

// Close at any moment of a replacement leaves neither supervisor nor cgroup.
func TestCgroupCloseWhileReplacing(t *testing.T) {
	a := newArena(t)
	s, _ := a.service()
	pid := s.cmd.Process.Pid
	for range 10 {
		s.mustDo("install")
		if err := proctree.Signal(supervisorsOf(t, pid)[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.mustDo("close")
		eventually(t, "nothing is left", func() bool { return len(childrenOf(t, pid)) == 0 })
		if left := a.trees(); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
	}
}

// Starts and ends of many at once, with the supervisor killed in between.
func TestCgroupConcurrentStarts(t *testing.T) {
	needCgroup(t)
	i := install(t, Cgroup())
	var wg sync.WaitGroup
	for n := range 40 {
		wg.Go(func() {
			var out bytes.Buffer
			cmd := exec.Command("sh", "-c", "sleep 1000 & echo $0; exit 3", strconv.Itoa(n))
			cmd.Stdout = &out
			cmd.WaitDelay = deadline
			p, err := registry.Start(i, cmd, registry.StartOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			_ = cmd.Wait()
			<-p.Done()
			if cmd.ProcessState.ExitCode() != 3 || strings.TrimSpace(out.String()) != strconv.Itoa(n) {
				t.Errorf("backend %d: %v, %q", n, cmd.ProcessState, &out)
			}
		})
		if n == 20 {
			for _, s := range supervisorsOf(t, os.Getpid()) {
				_ = proctree.Signal(s, unix.SIGKILL)
			}
		}
	}
	wg.Wait()
}

// statusField returns a line of proc_pid_status(5), "" if there is no such process.
func statusField(pid int, name string) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, rest, _ := strings.Cut("\n"+string(b), "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// The next backend's cgroup is made ahead, and one that a backend was in is
// never given to another.
func TestCgroupSpare(t *testing.T) {
	needCgroup(t)
	i := install(t, Cgroup())
	s := i.(*cgroupInstallation).service
	spare := func() cgroupfs.Group {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.spare
	}
	used := map[cgroupfs.Group]bool{}
	for range 5 {
		ahead := spare()
		cmd := exec.Command("/bin/true")
		p, err := registry.Start(i, cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		g := p.(*member).group
		if used[g] {
			t.Errorf("%s was another backend's", g)
		}
		if ahead != "" && g != ahead {
			t.Errorf("born in %s, while %s was there", g, ahead)
		}
		used[g] = true
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		waitDone(t, p)
		if _, err := os.Stat(string(g)); err == nil {
			t.Errorf("%s is left", g)
		}
		eventually(t, "a spare cgroup", func() bool { return spare() != "" })
		if pids, err := spare().PIDs(); err != nil || len(pids) > 0 {
			t.Errorf("in the spare: %v, %v", pids, err)
		}
	}
}

// A service that gives up its user after Install can still end what it has started,
// which that user could not, and hears at once that it can start nothing more.
func TestCgroupServiceDropsItsUser(t *testing.T) {
	asRoot(t)
	a := newArena(t)
	if err := os.Chmod(string(a.group), 0o755); err != nil {
		t.Fatal(err)
	}
	s, l := a.service()
	s.mustDo("install", "start 3", "drop")
	if got := s.ask("start 1"); !strings.Contains(got, "installed with the effective uid 0 and has 65534 now") {
		t.Errorf("start: %s", got)
	}
	s.mustDo("alive", "kill", "alive", "close")
	a.wantNoTrees()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	l.wantGone()
}
