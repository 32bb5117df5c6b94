package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// deadline bounds every wait: the contract's, and eleven times as much again for a
// host that does much else.
const deadline = 12 * registry.SupervisorKillDeadline

// roleEnv names what this test binary does when a test starts it again.
const roleEnv = "CONTAIN_TEST_ROLE"

// roles holds what such a child does; it exits with 0 when the function returns.
var roles = map[string]func(){
	"counter": counter,
	"queue":   queue,
	"tracer":  tracer,
	"refuser": refuser,
	"blocker": blocker,
}

// A role is played before TestMain, which would take the child for the whole test.
func init() {
	if f, ok := roles[os.Getenv(roleEnv)]; ok {
		_ = os.Unsetenv(roleEnv)
		f()
		os.Exit(0)
	}
}

// setting is one way in which contain run is tested.
type setting struct {
	t        testing.TB
	bin      string // this test binary, as a file named contain
	strategy string
	cred     *syscall.Credential // nil: as the test
}

var strategies = []string{"linux/cgroup", "linux/subreaper", "linux/pidns"}

// eachSetting runs f under every strategy that works here, as root (if the test
// is run by root) and as an unprivileged user.
func eachSetting(t *testing.T, f func(t *testing.T, s *setting)) {
	bin := containBinary(t)
	users := map[string]*syscall.Credential{"self": nil}
	if os.Geteuid() == 0 {
		users = map[string]*syscall.Credential{"root": nil, "nobody": {Uid: 65534, Gid: 65534}}
	}
	strategies := strategies
	if testing.Short() {
		users, strategies = map[string]*syscall.Credential{"self": nil}, []string{"linux/subreaper"}
	}
	for name, cred := range users {
		for _, strategy := range strategies {
			t.Run(name+"/"+strings.TrimPrefix(strategy, "linux/"), func(t *testing.T) {
				s := &setting{t: t, bin: bin, strategy: strategy, cred: cred}
				if usable, why := s.probe(); !usable {
					t.Skipf("%s is not usable here: %s", strategy, why)
				}
				f(t, s)
			})
		}
	}
}

// containBinary makes this test binary a file named contain that everybody may execute.
func containBinary(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "contain")
	self, err := os.Executable()
	if err == nil && os.Link(self, bin) == nil {
		return bin
	}
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(bin, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// probe asks contain describe, which tries.
func (s *setting) probe() (usable bool, why string) {
	s.t.Helper()
	out, err := s.command(s.bin, "describe", s.strategy, "-o", "json").Output()
	var answer struct {
		Strategies []struct {
			Probe struct {
				Usable bool
				Reason string
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil || len(answer.Strategies) != 1 {
		s.t.Fatalf("contain describe %s: %v %s", s.strategy, err, out)
	}
	probe := answer.Strategies[0].Probe
	return probe.Usable, probe.Reason
}

// command returns a command as this setting's user, in a directory that he may read.
func (s *setting) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	// A race-instrumented process else sleeps a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

// args is the command line of contain run with this setting's strategy.
func (s *setting) args(args ...string) []string {
	return append([]string{s.bin, "run", "--strategy", s.strategy}, args...)
}

// run is contain run with its own flags, a "--" and a command.
func (s *setting) run(args ...string) *exec.Cmd {
	a := s.args(args...)
	return s.command(a[0], a[1:]...)
}

// role is this test binary in a role, as this setting's user.
func (s *setting) role(name string, args ...string) *exec.Cmd {
	cmd := s.command(s.bin, args...)
	cmd.Env = append(cmd.Env, roleEnv+"="+name)
	return cmd
}

// session is a command that was started, which the test talks with by lines.
type session struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of its standard output, closed at the end
	err   strings.Builder
	ended chan struct{}
}

// start starts cmd; whatever is left of it ends with the test.
func start(t testing.TB, cmd *exec.Cmd) *session {
	t.Helper()
	p := &session{t: t, cmd: cmd, lines: make(chan string, 4096), ended: make(chan struct{})}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, &p.err
	cmd.WaitDelay = deadline
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		defer out.Close()
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	go func() { _ = cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		in.Close()
	})
	return p
}

// hear returns the next line, which is to be what.
func (p *session) hear(what string) string {
	p.t.Helper()
	select {
	case s, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("the end of the output instead of %s; standard error: %s", what, p.stderr())
		}
		return s
	case <-time.After(deadline):
		p.t.Fatalf("no %s within %v", what, deadline)
	}
	return ""
}

func (p *session) stderr() string {
	p.wait()
	return p.err.String()
}

// expect fails the test unless the next line is want.
func (p *session) expect(want string) {
	p.t.Helper()
	if got := p.hear(want); got != want {
		p.t.Fatalf("%q, want %q", got, want)
	}
}

// apart is a little more than the time within which a signal that comes twice of one
// sender is one.
const apart = 5 * time.Millisecond

func (p *session) send(sig syscall.Signal) {
	p.t.Helper()
	time.Sleep(apart)
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("send %v: %v", sig, err)
	}
}

func (p *session) wait() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		p.t.Errorf("not ended within %v", deadline)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// code waits for the end and returns the exit code, which must be a code.
func (p *session) code() int {
	p.t.Helper()
	p.wait()
	if !p.cmd.ProcessState.Exited() {
		p.t.Errorf("ended by %v, not with a code", p.cmd.ProcessState)
	}
	return p.cmd.ProcessState.ExitCode()
}

// liveness is a pipe whose writing end a whole tree inherits: its end says that
// the last of them is gone, whether or not anybody knew of it.
type liveness struct {
	t     testing.TB
	r, w  *os.File
	link  string
	lines chan string
}

func newLiveness(t testing.TB) *liveness {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &liveness{t: t, r: r, w: w, lines: make(chan string, 1024)}
	if l.link, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd())); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	return l
}

// carry lets cmd inherit the pipe as its descriptor 3.
func (l *liveness) carry(cmd *exec.Cmd) *exec.Cmd {
	cmd.ExtraFiles = []*os.File{l.w}
	return cmd
}

func (l *liveness) expect(want string) {
	l.t.Helper()
	select {
	case s, ok := <-l.lines:
		if !ok || s != want {
			l.t.Fatalf("%q (more: %v), want %q", s, ok, want)
		}
	case <-time.After(deadline):
		l.t.Fatalf("no %q within %v; alive: %v", want, deadline, l.holders())
	}
}

// expectAll is expect for lines that may come in any order.
func (l *liveness) expectAll(want ...string) {
	l.t.Helper()
	for range len(want) {
		select {
		case s, ok := <-l.lines:
			i := slices.Index(want, s)
			if !ok || i < 0 {
				l.t.Fatalf("%q (more: %v), want one of %q", s, ok, want)
			}
			want = slices.Delete(want, i, i+1)
		case <-time.After(deadline):
			l.t.Fatalf("no %q within %v; alive: %v", want, deadline, l.holders())
		}
	}
}

// gone gives up the test's own end and waits for the others'. It returns what was
// written until then, and ends whatever is left after the time given.
func (l *liveness) gone(within time.Duration) (wrote []string, ok bool) {
	l.w.Close()
	defer l.r.Close()
	for timeout := time.After(within); ; {
		select {
		case s, more := <-l.lines:
			if !more {
				return wrote, true
			}
			wrote = append(wrote, s)
		case <-timeout:
			l.end()
			return wrote, false
		}
	}
}

// wantGone fails the test unless all is gone; it names what is left.
func (l *liveness) wantGone() (wrote []string) {
	l.t.Helper()
	wrote, ok := l.gone(deadline)
	if !ok {
		l.t.Error("left alive (ended now): see above")
	}
	return wrote
}

// holders returns the processes but this one that hold the writing end.
func (l *liveness) holders() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, name := range links {
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if link, err := os.Readlink(name); err == nil && link == l.link && pid != os.Getpid() && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end kills the holders, which the test has started.
func (l *liveness) end() {
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		pids := l.holders()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			if slices.Contains(l.holders(), pid) { // it is still the same process
				l.t.Logf("alive: %d %q", pid, status(pid, "Name"))
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
	}
	l.t.Errorf("%v cannot be ended", l.holders())
}

// eventually waits for ok with the deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
	}
}

// status reads a field of /proc/PID/status, "" if there is no such process.
func status(pid int, field string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// signalSet reads a set of signals, such as SigIgn, from /proc/PID/status.
func signalSet(t testing.TB, pid int, field string) (has func(syscall.Signal) bool) {
	t.Helper()
	set, err := strconv.ParseUint(status(pid, field), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return func(sig syscall.Signal) bool { return set&(1<<(uint(sig)-1)) != 0 }
}

// childrenOf returns the children of all of pid's threads, zombies too.
func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range files {
		b, _ := os.ReadFile(name)
		for f := range strings.FieldsSeq(string(b)) {
			child, _ := strconv.Atoi(f)
			pids = append(pids, child)
		}
	}
	return pids
}

// below returns the supervisor of a contain run, and the leader.
func below(t testing.TB, contain int) (supervisor, leader int) {
	t.Helper()
	eventually(t, "supervisor and leader exist", func() bool {
		if c := childrenOf(contain); len(c) == 1 {
			supervisor = c[0]
			if c = childrenOf(supervisor); len(c) > 0 {
				leader = c[0]
				return true
			}
		}
		return false
	})
	return supervisor, leader
}

// state is the letter of a process's state in /proc/PID/status, such as T for stopped.
func state(pid int) string { return strings.SplitN(status(pid, "State"), " ", 2)[0] }

// killByHandle sends SIGKILL to a process that is pid's now, if there is one.
func killByHandle(pidfd int) error {
	err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// long skips a test that takes long, unless every drill is to be held.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CONTAIN_FULL") == "" {
		t.Skip("it takes long; set CONTAIN_FULL=drills")
	}
}

// full reports whether the longest version of a test was asked for.
var full = sync.OnceValue(func() bool { return os.Getenv("CONTAIN_FULL") == "1" })
