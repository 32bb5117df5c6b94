package linux

import (
	"context"
	"errors"
	"io"
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
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

func TestOnLeaderExit(t *testing.T) {
	for _, s := range []registry.Strategy{Subreaper(), Pidns()} {
		if registry.Probe(t.Context(), s) != nil {
			continue
		}
		i := install(t, s)
		for _, onExit := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitWait, registry.LeaderExitLeave} {
			t.Run(s.Describe().Name+"/"+onExit.String(), func(t *testing.T) {
				l := newLiveness(t)
				cmd := l.carry(exec.Command("sh", "-c", "setsid sh -c 'echo daemon >&3; read x <&4; echo more >&3' & exit 7"))
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				cmd.ExtraFiles = append(cmd.ExtraFiles, r)
				p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: onExit})
				r.Close()
				if onExit != registry.LeaderExitKill && s == Pidns() {
					if !errors.Is(err, registry.ErrNotPassed) {
						t.Fatalf("%v, want it refused", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				l.let()
				if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
					t.Errorf("the leader: %v", err)
				}
				switch onExit {
				case registry.LeaderExitKill:
					l.wantGone()
					await(t, p)
				case registry.LeaderExitWait:
					l.expect("daemon")
					select {
					case <-p.Done():
						t.Error("done while a daemon lives")
					default:
					}
					_, _ = w.WriteString("\n")
					l.expect("more")
					l.wantGone()
					await(t, p)
				case registry.LeaderExitLeave:
					l.expect("daemon")
					await(t, p)
					_, _ = w.WriteString("\n")
					l.expect("more")
					l.wantGone()
				}
			})
		}
	}
}

func await(t *testing.T, p registry.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(deadline):
		t.Error("not done")
	}
}

// A leader that is SIGKILLed takes its tree along, although it would be waited for.
func TestKilledLeaderTakesTheTree(t *testing.T) {
	i := install(t, Subreaper())
	l := newLiveness(t)
	cmd := l.tree()
	p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.wantGone()
	_ = cmd.Wait()
	await(t, p)
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal to nobody: %v", err)
	}
}

// A library starts what was wrapped, by a plain cmd.Start.
func TestWrap(t *testing.T) {
	i := install(t, Subreaper())
	w := i.(registry.Wrapper)
	l := newLiveness(t)
	cmd := l.tree()
	p, err := w.Wrap(cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	if p.PID() == 0 || p.PID() == cmd.Process.Pid {
		t.Errorf("the leader's PID is %d, the proxy's %d", p.PID(), cmd.Process.Pid)
	}
	if ms, err := p.Members(); err != nil || len(ms) < len(treeLines) {
		t.Errorf("members %v (%v)", ms, err)
	}
	_ = cmd.Process.Kill()
	l.wantGone()
	_ = cmd.Wait()
	await(t, p)
}

// What was wrapped and never started leaves nothing, and cannot be started after Close.
func TestWrapNeverStarted(t *testing.T) {
	before := len(descriptors(os.Getpid()))
	i, err := Subreaper().Install(t.Context(), registry.InstallOptions{OutliveParent: true})
	if err != nil {
		t.Fatal(err)
	}
	var cmds []*exec.Cmd
	for range 10 {
		cmd := exec.Command("/bin/echo", "ran")
		if _, err := i.(registry.Wrapper).Wrap(cmd, registry.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := i.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range cmds {
		if out, err := cmd.Output(); err == nil || strings.Contains(string(out), "ran") {
			t.Errorf("started after Close: %q, %v", out, err)
		}
	}
	// Each has a descriptor for as long as it can be started, which is until nobody refers
	// to it. What stays are this process's pidfd and its executable.
	eventually(t, "the descriptors are as before", func() bool {
		runtime.GC()
		return len(descriptors(os.Getpid())) <= before+2
	})
	noSupervisors(t)
}

// A kill by the service's name must not take the supervisor along.
func TestNames(t *testing.T) {
	for _, tool := range []string{"pgrep", "pidof"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "brokerd")
	if err := os.Link(self, bin); err != nil {
		if err := exec.Command("cp", self, bin).Run(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := role("names")
	cmd.Path, cmd.Args = bin, []string{bin}
	s := startService(t, cmd)
	if got := s.hear(); got != "started" {
		t.Fatal(got)
	}
	for _, search := range [][]string{{"pgrep", "brokerd"}, {"pgrep", "-f", "brokerd"}, {"pidof", "brokerd"}} {
		out, _ := exec.Command(search[0], search[1:]...).Output()
		found := strings.Fields(string(out))
		if !slices.Contains(found, strconv.Itoa(cmd.Process.Pid)) {
			t.Errorf("%q does not find the service itself: %q", search, found)
		}
		for _, pid := range supervisors() {
			if slices.Contains(found, strconv.Itoa(pid)) {
				t.Errorf("%q finds a supervisor", search)
			}
		}
	}
	if len(childrenOf(t, cmd.Process.Pid)) == 0 {
		t.Error("there was no supervisor to find")
	}
}

func init() { Roles["names"] = namesRole }

func namesRole() {
	must(starterOf(SubreaperName, registry.InstallOptions{})(exec.Command("sleep", "1000")))
	say("started")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Started by hand by a path such as a supervisor has, a program says so and does not run.
// The name alone, and the path without its mark, are anybody's.
func TestNotByHand(t *testing.T) {
	image, err := openImage("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{entry.PathMark, entry.StartMark} {
		cmd := &exec.Cmd{Path: mark + strconv.Itoa(image), Args: []string{supervisor.Argv0}, Env: []string{RoleEnv + "=ran"}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 125 || strings.Contains(string(out), "ran\n") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v, %q", mark, err, out)
		}
	}
	cmd := &exec.Cmd{Path: "/proc/self/fd/" + strconv.Itoa(image), Args: []string{supervisor.Argv0}, Env: []string{RoleEnv + "=ran"}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ran\n" {
		t.Errorf("as fexecve(3) does it: %v, %q", err, out)
	}
}

func init() { Roles["ran"] = func() { say("ran") } }

// A build inside another program cannot be started again as a supervisor.
func TestBuildModes(t *testing.T) {
	before := buildMode
	defer func() { buildMode = before }()
	for _, mode := range []string{"c-shared", "c-archive", "plugin"} {
		buildMode = func() string { return mode }
		_, err := Subreaper().Install(t.Context(), registry.InstallOptions{OutliveParent: true})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), mode) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// An executable that is no supervisor is found out, within the barrier's deadline.
func TestForeignSupervisor(t *testing.T) {
	for _, path := range []string{"/bin/cat", "/bin/true", "/no/such/contain"} {
		start := time.Now()
		_, err := Subreaper().Install(t.Context(), registry.InstallOptions{OutliveParent: true, Supervisor: path})
		if !errors.Is(err, registry.ErrSupervisor) || !errors.Is(err, errors.ErrUnsupported) || time.Since(start) > deadline {
			t.Errorf("%s: %v after %v", path, err, time.Since(start))
		}
	}
}

// A supervisor is refused by an executable with more privileges than its caller.
func TestRefusedUnderAtSecure(t *testing.T) {
	asRoot(t)
	self, _ := os.Executable()
	dir, err := os.MkdirTemp("", "contain-setuid")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "setuid")
	if err := exec.Command("cp", self, bin).Run(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bin, os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	image, err := openImage(bin)
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: entry.StartMark + strconv.Itoa(image), Args: []string{supervisor.Argv0}, Env: []string{supervisor.FDEnv + "=3"}, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 0}}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	m, err := readMessage(ours)
	if err != nil || m.Op != supervisor.OpRefused || supervisor.Refusal(m.A) != supervisor.RefusedSecure {
		t.Errorf("%+v (%v), want it refused", m, err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 125 {
		t.Error(err)
	}
}

// A leader that ends at once has left before Start knows of it, and with it the proxy. What
// it leaves is found all the same.
func TestLeaderEndsAtOnce(t *testing.T) {
	i := install(t, Subreaper())
	for range 100 { // of which some are seen too late
		cmd := exec.Command("sh", "-c", "sleep 1000 & exit 3")
		p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		members, err := p.Members()
		if err != nil || len(members) != 1 {
			t.Errorf("the leader has left %v, %v", members, err)
		}
		_ = p.Kill()
		<-p.Done()
	}
}

// A signal that comes with the leader's end is for what that leaves.
func TestSignalComesWithLeadersEnd(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 1000 & sleep 0.01; exit 3")
	p, err := registry.Start(install(t, Subreaper()), cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
	if err != nil {
		t.Fatal(err)
	}
	supervisor := p.(*tree).supervisor
	if err := proctree.Signal(supervisor, unix.SIGSTOP); err != nil { // a busy host
		t.Fatal(err)
	}
	eventually(t, "the leader has ended", func() bool {
		leader, err := proctree.Lookup(p.PID())
		return err != nil || leader.Zombie
	})
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := proctree.Signal(supervisor, unix.SIGCONT); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Done():
	case <-time.After(deadline):
		members, err := p.Members()
		t.Errorf("the signal has not reached %v, %v", members, err)
		_ = p.Kill()
	}
	_ = cmd.Wait()
}

// A signal to a wrapped command that is being started must not get in front of what the
// helper is told: the command runs.
func TestSignalDuringWrappedStart(t *testing.T) {
	w := install(t, Subreaper()).(registry.Wrapper)
	for range 100 { // of which a third is hit
		cmd := exec.Command("true")
		p, err := w.Wrap(cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			for settled := p.(registry.Wrapped).Settled(); ; {
				_ = p.Signal(unix.SIGCONT)
				select {
				case <-settled:
					return
				default:
				}
			}
		}()
		if err := cmd.Run(); err != nil {
			t.Errorf("the wrapped command: %v", err)
		}
		<-over
	}
}
