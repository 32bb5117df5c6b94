package linux

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// needCgroup skips a test where linux/cgroup cannot work.
func needCgroup(t testing.TB) {
	t.Helper()
	if err := Cgroup().(registry.Prober).Probe(t.Context()); err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// arena is a cgroup for one test. Owners that are born in it make their trees
// there, where no other test's Install sweeps.
type arena struct {
	t     testing.TB
	group cgroupfs.Group
}

func newArena(t testing.TB) *arena {
	t.Helper()
	needCgroup(t)
	own, err := cgroupfs.Own()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(string(own), "test-arena-")
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{t, cgroupfs.Group(dir)}
	t.Cleanup(func() {
		if err := a.group.End(time.Now().Add(deadline)); err != nil {
			t.Error(err)
		}
	})
	return a
}

// into lets cmd be born in the arena.
func (a *arena) into(cmd *exec.Cmd) *exec.Cmd {
	a.t.Helper()
	dir, err := os.Open(string(a.group))
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { dir.Close() })
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return cmd
}

// trees returns the trees of owners in the arena.
func (a *arena) trees() []string {
	a.t.Helper()
	names, err := filepath.Glob(string(a.group) + "/" + cgroupfs.Prefix + "*")
	if err != nil {
		a.t.Fatal(err)
	}
	return names
}

// wantNoTrees waits until the supervisors have removed them.
func (a *arena) wantNoTrees() {
	a.t.Helper()
	eventually(a.t, "the cgroups of the owner are removed", func() bool { return len(a.trees()) == 0 })
}

// owner starts the role owner of events_linux_test.go in the arena, and its tree.
func (a *arena) owner(strategy string) (*service, *liveness) {
	a.t.Helper()
	l := newLiveness(a.t)
	s := startService(a.t, a.into(l.carry(role("owner", strategyEnv+"="+strategy))))
	l.let()
	s.hear()
	l.expect(treeLines...)
	return s, l
}

// However the owner ends, its tree and its cgroup go.
func TestCgroupOwnerEnds(t *testing.T) {
	for name, end := range ownersEnds {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			s, l := a.owner(CgroupName)
			if len(a.trees()) != 1 {
				t.Fatalf("trees %v in the owner's cgroup, want one", a.trees())
			}
			end(s)
			l.wantGone()
			a.wantNoTrees()
		})
		t.Run(name+"/control", func(t *testing.T) {
			s, l := newArena(t).owner("plain")
			end(s)
			if left := l.holders(); len(left) < 4 {
				t.Errorf("of a tree that nothing contains only %v is left: it proves nothing", left)
			}
		})
	}
}

// A crowd is a tree of those who are hard to end: stopped, of another user,
// daemonised, and moving on by forking and exiting.
func init() { Roles["crowd"] = crowdRole }

const (
	crowdEnv   = "CONTAIN_TEST_CROWD"
	crowdSize  = 6 // with its leader, but for what moves on
	moving     = "moving"
	motionless = "motionless"
	// moveOn is never more than a few processes at a time, and a PID of one that
	// was read is out of date.
	moveOn = `F='sh -c "$F" & exit'; export F; sh -c "$F"`
)

func crowdRole() {
	live := os.NewFile(3, "liveness")
	start := func(a *syscall.SysProcAttr, name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{live}, a
		must(cmd.Start())
		return cmd
	}
	must(start(nil, "sleep", "1000").Process.Signal(unix.SIGSTOP))
	other := new(syscall.SysProcAttr)
	if os.Geteuid() == 0 {
		other.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	start(other, "sleep", "1000")
	start(&syscall.SysProcAttr{Setsid: true}, "sh", "-c", `trap "" TERM HUP INT; echo >&3 daemon; while :; do sleep 1000; done`)
	start(&syscall.SysProcAttr{Setpgid: true}, "env", "-i", "sh", "-c", `(/bin/sleep 1000 &); echo >&3 twice`)
	if os.Getenv(crowdEnv) == moving {
		for range 3 {
			start(nil, "sh", "-c", moveOn)
		}
	}
	fmt.Fprintln(live, "leader")
	sleepOn()
}

// sleepOn waits for a signal that ends this process.
func sleepOn() {
	for {
		_ = unix.Pause()
	}
}

// crowd returns a command that becomes a crowd.
func (l *liveness) crowd(kind string) *exec.Cmd {
	return l.carry(role("crowd", crowdEnv+"="+kind))
}

func (l *liveness) expectCrowd() { l.t.Helper(); l.expect("leader", "daemon", "twice") }

// ways are the ways to end a backend. Each ends the whole of it.
var ways = map[string]func(t *testing.T, p registry.Process, cmd *exec.Cmd, cancel func()){
	"Process.Kill": func(t *testing.T, _ registry.Process, cmd *exec.Cmd, _ func()) {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	},
	"a context": func(_ *testing.T, _ registry.Process, _ *exec.Cmd, cancel func()) { cancel() },
	"Kill": func(t *testing.T, p registry.Process, _ *exec.Cmd, _ func()) {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	},
	"the leader's exit": func(t *testing.T, p registry.Process, _ *exec.Cmd, _ func()) {
		if err := p.Signal(unix.SIGABRT); err != nil {
			t.Error(err)
		}
	},
}

func TestCgroupEndsCrowds(t *testing.T) {
	needCgroup(t)
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			p, cmd, l, cancel := startCrowd(t, install(t, Cgroup()), moving)
			end(t, p, cmd, cancel)
			_ = cmd.Wait()
			waitDone(t, p)
			l.wantGone()
			if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal after the end: %v", err)
			}
			if err := p.Kill(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Kill after the end: %v", err)
			}
			if ms, err := p.Members(); err != nil || len(ms) != 0 {
				t.Errorf("members %v (%v) after the end", ms, err)
			}
			if _, err := os.Stat(string(p.(*member).group)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the backend's cgroup is left: %v", err)
			}
		})
	}
}

func startCrowd(t *testing.T, i registry.Installation, kind string) (registry.Process, *exec.Cmd, *liveness, func()) {
	t.Helper()
	l := newLiveness(t)
	like := l.crowd(kind)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, like.Path)
	cmd.Env, cmd.ExtraFiles, cmd.Stderr = like.Env, like.ExtraFiles, nil // SIGABRT makes it write a traceback
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expectCrowd()
	return p, cmd, l, cancel
}

// The control of the test above.
func TestCrowdOutlivesItsLeader(t *testing.T) {
	l := newLiveness(t)
	cmd := l.crowd(motionless)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expectCrowd()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if left := l.holders(); len(left) < crowdSize-1 {
		t.Errorf("only %v is left of a crowd that nothing contains", left)
	}
}

// The backend is this process's own child, with the PID that the service sees,
// and inside from its first instruction.
func TestCgroupBackendIsTheProcess(t *testing.T) {
	needCgroup(t)
	i := install(t, Cgroup())
	cmd := exec.Command("sh", "-c", `echo $$ $PPID; cat /proc/self/cgroup`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	if want := fmt.Sprintf("%d %d", cmd.Process.Pid, os.Getpid()); lines.Text() != want || p.PID() != cmd.Process.Pid {
		t.Errorf("PID and parent %q, PID() %d, want %q", lines.Text(), p.PID(), want)
	}
	inside := false
	for lines.Scan() {
		inside = inside || strings.HasPrefix(lines.Text(), "0::") &&
			strings.HasSuffix(lines.Text(), "/"+filepath.Base(string(p.(*member).group)))
	}
	if !inside {
		t.Error("the backend is not in its cgroup")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	waitDone(t, p)
	if cmd.SysProcAttr != nil {
		t.Errorf("Start left SysProcAttr %+v behind", cmd.SysProcAttr)
	}
}

func TestCgroupLeaderExit(t *testing.T) {
	needCgroup(t)
	start := func(t *testing.T, o registry.LeaderExit) (registry.Process, *exec.Cmd, *liveness) {
		l := newLiveness(t)
		cmd := l.tree()
		p, err := registry.Start(install(t, Cgroup()), cmd, registry.StartOptions{OnLeaderExit: o})
		if err != nil {
			t.Fatal(err)
		}
		l.let()
		l.expect(treeLines...)
		return p, cmd, l
	}
	t.Run("kill", func(t *testing.T) {
		p, cmd, l := start(t, registry.LeaderExitKill)
		_ = p.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		waitDone(t, p)
		l.wantGone()
	})
	t.Run("wait", func(t *testing.T) {
		p, cmd, l := start(t, registry.LeaderExitWait)
		_ = p.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		ms, err := p.Members()
		if err != nil || len(ms) < 3 {
			t.Errorf("members %v (%v), want the three that were left", ms, err)
		}
		select {
		case <-p.Done():
			t.Fatal("Done is closed while members live")
		default:
		}
		for _, left := range l.holders() {
			_ = proctree.Signal(left, unix.SIGKILL)
		}
		waitDone(t, p)
		l.wantGone()
	})
	t.Run("leave", func(t *testing.T) {
		p, cmd, l := start(t, registry.LeaderExitLeave)
		_ = p.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		waitDone(t, p)
		left := l.holders()
		if len(left) < 3 {
			t.Errorf("only %v is left", left)
		}
		mine, _ := os.ReadFile("/proc/self/cgroup")
		for _, q := range left {
			if its, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", q.PID)); string(its) != string(mine) {
				t.Errorf("%v was left in\n%s", q, its)
			}
		}
	})
}

// Under LeaderExitWait a leader that was SIGKILLed takes its tree along, even if
// Cmd.Wait collects its status at that very moment.
func TestCgroupKillUnderLeaderExitWait(t *testing.T) {
	needCgroup(t)
	if !statusOutlivesReaping(t) {
		t.Skip("this kernel forgets a status that was collected (Linux 6.15 does not)")
	}
	i := install(t, Cgroup())
	for range 30 {
		l := newLiveness(t)
		cmd := l.carry(exec.Command("sh", "-c", `sleep 1000 & echo leader >&3; wait`))
		p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
		if err != nil {
			t.Fatal(err)
		}
		l.let()
		l.expect("leader")
		waited := make(chan error)
		go func() { waited <- cmd.Wait() }()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-waited
		waitDone(t, p)
		l.wantGone()
	}
}

func statusOutlivesReaping(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = cmd.Wait()
	_, known := collectedSIGKILL(fd)
	return known
}

// How a child ended is read from siginfo, whose layout differs between machines,
// and, once it was collected, from its pidfd.
func TestWasSIGKILLed(t *testing.T) {
	for script, want := range map[string]bool{
		"exit 0": false, "exit 9": false, "exit 137": false,
		"kill -TERM $$": false, "kill -KILL $$": true, "kill -ABRT $$": false,
	} {
		for _, collected := range []bool{false, true} {
			if collected && !statusOutlivesReaping(t) {
				continue
			}
			cmd := exec.Command("sh", "-c", "ulimit -c 0; "+script)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
			if err != nil {
				t.Skip(err)
			}
			if collected {
				_ = cmd.Wait()
			} else {
				_ = unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOWAIT, nil)
			}
			if got := wasSIGKILLed(fd); got != want {
				t.Errorf("%s, collected %v: %v", script, collected, got)
			}
			_ = cmd.Wait()
			_ = unix.Close(fd)
		}
	}
}

func TestSiginfoStatus(t *testing.T) {
	cmd := exec.Command("sh", "-c", "exit 77")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if got := siginfoStatus(&info); got != 77 {
		t.Errorf("status %d in %+v, want 77", got, info)
	}
}

// SIGTERM reaches every member, daemons included; the control is Signal, which
// is for the leader.
func TestCgroupTerminate(t *testing.T) {
	needCgroup(t)
	const script = `setsid sh -c 'trap "echo got >&3; exit" TERM; echo ready >&3; while :; do sleep 0.05; done' &
trap "echo leader got >&3; wait; exit" TERM; echo leader >&3; while :; do sleep 0.05; done`
	i := install(t, Cgroup())
	l := newLiveness(t)
	cmd := l.carry(exec.Command("sh", "-c", script))
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect("ready", "leader")
	if err := p.Terminate(); err != nil {
		t.Error(err)
	}
	l.expect("got", "leader got")
	_ = cmd.Wait()
	waitDone(t, p)
	l.wantGone()
}

// A backend that may write to cgroups can divide its own, and make it threaded.
func TestCgroupNested(t *testing.T) {
	asRoot(t)
	const divide = `
cg=$OWN/b1; mkdir -p $cg/x/y $cg/z; echo $$ >$cg/z/cgroup.procs
sh -c "echo \$\$ >$cg/x/y/cgroup.procs; echo below >&3; exec sleep 1000" &
echo leader >&3; wait`
	const thread = `sleep 1000 & echo threaded >$OWN/b1/cgroup.type; echo below >&3; echo leader >&3; wait`
	for what, script := range map[string]string{"divided": divide, "threaded": thread} {
		t.Run(what+", the leader is killed", func(t *testing.T) {
			a := newArena(t)
			s, l := a.scripted(script)
			s.tell("kill")
			l.wantGone()
			if got := s.hear(); got != "done" {
				t.Fatal(got)
			}
			// b2 is the spare.
			if left, _ := filepath.Glob(a.trees()[0] + "/b*"); slices.ContainsFunc(left, func(g string) bool { return filepath.Base(g) != "b2" }) {
				t.Errorf("left: %v", left)
			}
		})
		t.Run(what+", the owner is killed", func(t *testing.T) {
			a := newArena(t)
			s, l := a.scripted(script)
			_ = s.cmd.Process.Kill()
			l.wantGone()
			a.wantNoTrees()
		})
	}
}

func init() { Roles["scripted"] = scriptedRole }

// scriptedRole is a service with one backend, a shell script that is told where
// its cgroup is.
func scriptedRole() {
	unix.CloseOnExec(3)
	i, err := Cgroup().Install(context.Background(), registry.InstallOptions{})
	must(err)
	cmd := exec.Command("sh", "-c", os.Getenv("SCRIPT"))
	cmd.Env = append(os.Environ(), "OWN="+string(i.(*cgroupInstallation).service.tree.Group))
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	must(err)
	_ = cmd.ExtraFiles[0].Close()
	must(waitForLine())
	must(cmd.Process.Kill())
	_ = cmd.Wait()
	<-p.Done()
	say("done")
	sleepOn()
}

func waitForLine() error {
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func (a *arena) scripted(script string) (*service, *liveness) {
	a.t.Helper()
	l := newLiveness(a.t)
	s := startService(a.t, a.into(l.carry(role("scripted", "SCRIPT="+script))))
	l.let()
	l.expect("leader", "below")
	return s, l
}

// What cannot be passed is refused, by name, and other errors are os/exec's own.
func TestCgroupRefuses(t *testing.T) {
	needCgroup(t)
	i := install(t, Cgroup())
	for field, attr := range map[string]*syscall.SysProcAttr{
		"UseCgroupFD": {UseCgroupFD: true}, "Ptrace": {Ptrace: true}, "Pdeathsig": {Pdeathsig: unix.SIGTERM},
	} {
		cmd := exec.Command("true")
		cmd.SysProcAttr = attr
		_, err := registry.Start(i, cmd, registry.StartOptions{})
		if !errors.Is(err, registry.ErrNotPassed) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want ErrNotPassed and the field's name", field, err)
		}
	}
	dir := t.TempDir()
	for what, make := range map[string]func() *exec.Cmd{
		"no program":        func() *exec.Cmd { return exec.Command(dir + "/missing") },
		"no permission":     func() *exec.Cmd { return exec.Command("/etc/passwd") },
		"a directory":       func() *exec.Cmd { return exec.Command(dir) },
		"no such directory": func() *exec.Cmd { c := exec.Command("/bin/true"); c.Dir = dir + "/missing"; return c },
		"no such directory, with attributes": func() *exec.Cmd {
			c := exec.Command("/bin/true")
			c.Dir, c.SysProcAttr = dir+"/missing", &syscall.SysProcAttr{Setsid: true}
			return c
		},
		"not found": func() *exec.Cmd { return exec.Command("no-such-program-anywhere") },
	} {
		cmd := make()
		_, got := registry.Start(i, cmd, registry.StartOptions{})
		if want := make().Start(); got == nil || got.Error() != want.Error() || cmd.Process != nil {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	if left := usedGroups(i.(*cgroupInstallation).service); len(left) > 0 {
		t.Errorf("starts that failed left %v", left)
	}
}

// A caller whose thread is in other namespaces would get a backend that is not.
func TestCgroupRefusesAForeignThread(t *testing.T) { refusesAForeignThread(t, CgroupName) }

func refusesAForeignThread(t *testing.T, strategy string) {
	asRoot(t)
	if strategy == CgroupName {
		needCgroup(t)
	}
	if got := strings.TrimSpace(played(t, role("foreign", strategyEnv+"="+strategy))); got != "refused" {
		t.Error(got)
	}
}

func init() { Roles["foreign"] = foreignRole }

func foreignRole() {
	i, err := byName(os.Getenv(strategyEnv)).Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	must(err)
	defer i.Close(context.Background())
	for what, change := range map[string]func() error{
		"ns/uts": foreignThread,
		"cwd":    func() error { return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chdir("/proc")) },
		"ns/mnt": func() error { return unix.Unshare(unix.CLONE_NEWNS) },
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: this thread is fit for nothing else
			must(change())
			expectForeign(i, what)
		}()
		<-done
	}
	say("refused")
}

// expectForeign ends the role unless a start is refused for what differs.
func expectForeign(i registry.Installation, what string) {
	_, err := registry.Start(i, exec.Command("/bin/true"), registry.StartOptions{})
	if !errors.Is(err, registry.ErrNotPassed) || !strings.Contains(err.Error(), what) {
		must(fmt.Errorf("start on a thread with another %s: %v", what, err))
	}
}

// usedGroups returns the groups that are there, but for the spare one.
func usedGroups(s *cgroupService) []string {
	names, _ := filepath.Glob(string(s.tree.Group) + "/b*")
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(names, func(name string) bool { return name == string(s.spare) })
}

// Descriptors run out at every step of Start in turn; what fails leaves nothing.
func TestCgroupStartWithoutDescriptors(t *testing.T) {
	needCgroup(t)
	out := played(t, newArena(t).into(role("no-descriptors")))
	if !strings.Contains(out, "failed") || !strings.HasSuffix(out, "started\n") {
		t.Errorf("every start failed, or none:\n%s", out)
	}
	t.Log(strings.ReplaceAll(out, "\n", "; "))
}

func init() { Roles["no-descriptors"] = noDescriptorsRole }

func noDescriptorsRole() {
	inst, err := Cgroup().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	must(err)
	i := inst.(*cgroupInstallation)
	warm := exec.Command("/bin/true") // opens what stays open
	_, err = registry.Start(i, warm, registry.StartOptions{})
	must(err)
	must(warm.Wait())
	var lim unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	for room := uint64(0); ; room++ {
		left := func() []string {
			return usedGroups(i.service)
		}
		for end := time.Now().Add(deadline); len(left()) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				must(fmt.Errorf("left with room for %d descriptors: %v", room, left()))
			}
		}
		top := fillHoles()
		before := descriptors(os.Getpid())
		must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top) + 1 + room, Max: lim.Max}))
		cmd := exec.Command("/bin/true")
		p, err := registry.Start(i, cmd, registry.StartOptions{})
		must(unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
		if err == nil {
			must(cmd.Wait())
			<-p.Done()
			say("%d: started", room)
			break
		}
		say("%d: failed: %v", room, err)
		if cmd.Process != nil {
			must(errors.New("a start that failed left a process in cmd"))
		}
		if after := descriptors(os.Getpid()); len(after) > len(before) {
			must(fmt.Errorf("descriptors %q, before it was %q", after, before))
		}
	}
	must(i.Close(context.Background()))
	if names, _ := filepath.Glob(string(i.service.own) + "/" + cgroupfs.Prefix + "*"); len(names) > 0 {
		must(fmt.Errorf("left: %v", names))
	}
}

// fillHoles leaves no descriptor unused below the largest, which it returns.
func fillHoles() int {
	names, _ := filepath.Glob("/proc/self/fd/*")
	top := 0
	for _, name := range names {
		n, _ := strconv.Atoi(filepath.Base(name))
		top = max(top, n)
	}
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		must(err)
		if fd > top {
			return fd
		}
	}
}

// The limit may be reached after the installation, too.
func TestCgroupStartAtTheLimit(t *testing.T) {
	needCgroup(t)
	i := install(t, Cgroup()).(*cgroupInstallation)
	limit := string(i.service.tree.Group) + "/cgroup.max.descendants"
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/bin/true")
	_, err := registry.Start(i, cmd, registry.StartOptions{})
	if !errors.Is(err, unix.EAGAIN) || cmd.Process != nil {
		t.Errorf("%v, want EAGAIN", err)
	}
	if err := os.WriteFile(limit, []byte("max"), 0); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("/bin/true")
	if _, err := registry.Start(i, cmd, registry.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// supervisorsOf returns the supervisors that are children of pid.
func supervisorsOf(t testing.TB, pid int) []proctree.Process {
	t.Helper()
	return slices.DeleteFunc(childrenOf(t, pid), func(p proctree.Process) bool { return p.Name != "contain-supervi" })
}

// foreignThread gives the calling thread a namespace of its own, for good.
func foreignThread() error {
	runtime.LockOSThread()
	return unix.Unshare(unix.CLONE_NEWUTS)
}
