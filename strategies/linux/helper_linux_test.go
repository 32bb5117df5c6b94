package linux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// deadline bounds every wait: the contract's, and as much again for a busy host.
const deadline = 2 * registry.SupervisorKillDeadline

// starter starts a command: plainly, or contained.
type starter func(*exec.Cmd) error

func plain(cmd *exec.Cmd) error { return cmd.Start() }

// install puts s in force here and closes it with the test. It leaves this
// process unbound from its parent, so that nothing of the process changes.
func install(t testing.TB, s registry.Strategy) registry.Installation {
	t.Helper()
	i, err := s.Install(t.Context(), registry.InstallOptions{OutliveParent: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := i.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return i
}

// under returns the starter of an installation.
func under(i registry.Installation) starter {
	return func(cmd *exec.Cmd) error {
		_, err := registry.Start(i, cmd, registry.StartOptions{})
		return err
	}
}

func asRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// role returns this test binary as a command that plays a role.
func role(name string, env ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self)
	// A program with the race detector in it sleeps for a second before it exits.
	cmd.Env = append(append(os.Environ(), RoleEnv+"="+name, "GORACE=atexit_sleep_ms=0"), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// notShort skips a test that takes seconds with go test -short.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds, and -short is set")
	}
}

// must ends a role with what went wrong.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0], "role:", err)
		os.Exit(1)
	}
}

// byName returns the strategy a role was told to use, nil for none at all.
func byName(name string) registry.Strategy {
	if name == "plain" {
		return nil
	}
	s, err := registry.Default().Lookup(name)
	must(err)
	return s
}

// starterOf installs the strategy of that name as a service would, and returns its starter.
func starterOf(name string, opts registry.InstallOptions) starter {
	s := byName(name)
	if s == nil {
		return plain
	}
	i, err := s.Install(context.Background(), opts)
	must(err)
	return under(i)
}

// liveness is a pipe whose writing end a whole tree of processes inherits. Its
// end says that the last of them is gone, whether or not anybody knew of it;
// and each may write lines into it.
type liveness struct {
	t     testing.TB
	r, w  *os.File
	link  string
	lines chan string // closed at the end
}

func newLiveness(t testing.TB) *liveness {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(w.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	l := &liveness{t: t, r: r, w: w, link: link, lines: make(chan string, 1024)}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(l.end)
	return l
}

// carry lets cmd inherit the pipe as its descriptor 3.
func (l *liveness) carry(cmd *exec.Cmd) *exec.Cmd {
	cmd.ExtraFiles = []*os.File{l.w}
	return cmd
}

// let gives up this process's own writing end, once the tree has been started.
func (l *liveness) let() { l.w.Close() }

// line returns the next line that one of the tree wrote.
func (l *liveness) line() string {
	l.t.Helper()
	select {
	case s, ok := <-l.lines:
		if !ok {
			l.t.Fatal("the tree is gone; a line was expected from it")
		}
		return s
	case <-time.After(deadline):
		l.t.Fatalf("no line from the tree; its processes: %v", l.holders())
	}
	return ""
}

// expect waits for the given lines, in any order.
func (l *liveness) expect(want ...string) {
	l.t.Helper()
	for want = slices.Clone(want); len(want) > 0; {
		s := l.line()
		i := slices.Index(want, s)
		if i < 0 {
			l.t.Fatalf("unexpected line %q, waiting for %q", s, want)
		}
		want = slices.Delete(want, i, i+1)
	}
}

// gone reports whether all of the tree ended before the deadline.
func (l *liveness) gone() bool {
	for timeout := time.After(deadline); ; {
		select {
		case _, ok := <-l.lines:
			if !ok {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// wantGone fails the test if the tree does not end.
func (l *liveness) wantGone() {
	l.t.Helper()
	if !l.gone() {
		l.t.Errorf("left alive: %v", l.holders())
	}
}

// holders returns the processes but this one that hold the writing end.
func (l *liveness) holders() []proctree.Process {
	var found []proctree.Process
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, name := range links {
		if link, err := os.Readlink(name); err != nil || link != l.link {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if pid == os.Getpid() {
			continue
		}
		p, err := proctree.Lookup(pid)
		if err == nil && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	return found
}

// end kills what is left of the tree. Who holds the pipe was started by the test.
func (l *liveness) end() {
	l.let()
	for {
		left := l.holders()
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			_ = proctree.Signal(p, unix.SIGKILL)
		}
	}
	if !l.gone() {
		l.t.Error("the pipe is held by a process that is not visible")
	}
	l.r.Close()
}

// treeScript makes a tree of every kind of runaway, each announcing itself on
// descriptor 3: a child, a daemon that ignores signals, and one that was forked
// twice, with nothing in its environment. Once all have done so none is to come.
const treeScript = `
sh -c 'echo child >&3; exec sleep 1000' &
setsid sh -c 'trap "" TERM HUP INT; sleep 1000 & echo daemon >&3; wait; sleep 1000' &
(setsid env -i sh -c '(trap "" TERM HUP; echo twice >&3; exec sleep 1000) & ' &)
echo leader >&3
wait
`

var treeLines = []string{"child", "daemon", "twice", "leader"}

// tree returns a command that becomes such a tree; expect(treeLines...) says when it has.
func (l *liveness) tree() *exec.Cmd { return l.carry(exec.Command("sh", "-c", treeScript)) }

// eventually waits for ok with the deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

// childrenOf returns the children of pid that are no zombies.
func childrenOf(t testing.TB, pid int) []proctree.Process {
	t.Helper()
	all, err := proctree.Descendants(pid)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(proctree.Alive(all), func(p proctree.Process) bool { return p.PPID != pid })
}

// supervisorOf returns the supervisor below the proxy that cmd.Process is.
func supervisorOf(t testing.TB, cmd *exec.Cmd) proctree.Process {
	t.Helper()
	below := childrenOf(t, cmd.Process.Pid)
	if len(below) != 1 || below[0].Name != supervisor.Argv0[:15] {
		t.Fatalf("below the proxy is no supervisor but %v", below)
	}
	return below[0]
}

// supervisors returns every living proxy and supervisor that this test binary
// has become, whoever started it.
func supervisors() []int {
	var pids []int
	self, _ := os.Readlink("/proc/self/exe")
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		dir := filepath.Dir(exe)
		if link, err := os.Readlink(exe); err != nil || link != self {
			continue
		}
		if comm, err := os.ReadFile(dir + "/comm"); err == nil && strings.TrimSpace(string(comm)) == supervisor.Argv0[:15] {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// noSupervisors waits until none is left.
func noSupervisors(t testing.TB) {
	t.Helper()
	eventually(t, fmt.Sprintf("no supervisor is left of %v", supervisors()), func() bool { return len(supervisors()) == 0 })
}

// descriptors returns what this process's descriptors refer to.
func descriptors(pid int) []string {
	var links []string
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		if link, err := os.Readlink(name); err == nil {
			links = append(links, link)
		}
	}
	slices.Sort(links)
	return links
}

// say is a role's line to the test.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// played runs a role to its end and returns what it said.
func played(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	ctx := time.AfterFunc(3*deadline, func() { _ = cmd.Process.Kill() })
	defer ctx.Stop()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

// service is a role that is told what to do by lines, and answers with lines.
type service struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startService(t testing.TB, cmd *exec.Cmd) *service {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return s
}

// hear returns the next line, and fails after the deadline.
func (s *service) hear() string {
	s.t.Helper()
	timer := time.AfterFunc(deadline, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the service said %q, then %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (s *service) tell(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}
