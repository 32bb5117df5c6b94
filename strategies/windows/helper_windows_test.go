package windows

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
)

// The test binary started again plays the parts of a drill. Each process
// announces itself by a line "NAME PID" on its standard output.
const (
	envRole     = "CONTAIN_TEST_ROLE"
	envDepth    = "CONTAIN_TEST_DEPTH"    // of a node: how many generations below
	envWidth    = "CONTAIN_TEST_WIDTH"    // of a node: children with nothing below
	envOwner    = "CONTAIN_TEST_OWNER"    // how an owner sets itself up
	envIsolated = "CONTAIN_TEST_ISOLATED" // the one test to be run here

	leaderCode = 7
	patience   = 20 * time.Second
	// maxLife ends what a failed test may have left.
	maxLife = time.Minute
	// settle is how long survivors are watched before they count as such; the
	// guarantees take about a millisecond.
	settle = 300 * time.Millisecond
)

func TestMain(m *testing.M) {
	roles := map[string]func(){
		"node": node, "owner": owner, "releaser": releaser, "breakaway": breakaway, "onbreak": onBreak, "console": console, "exit": func() {},
	}
	if role := os.Getenv(envRole); role != "" {
		time.AfterFunc(maxLife, func() { os.Exit(99) })
		roles[role]()
		return
	}
	os.Exit(m.Run())
}

// isolated runs body in a process of its own, since every real Install stays.
func isolated(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(envIsolated) == t.Name() {
		body(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.timeout=5m", "-test.run=^"+strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), envIsolated+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	} else if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("did not run:\n%s", out)
	}
}

// role returns the test binary as a command that plays name.
func role(name string, env ...string) *exec.Cmd {
	return roleOf(exec.Command(os.Args[0]), name, env...)
}

func roleOf(cmd *exec.Cmd, name string, env ...string) *exec.Cmd {
	cmd.Env = append(append(os.Environ(), envRole+"="+name), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func number(env string) int {
	n, _ := strconv.Atoi(os.Getenv(env))
	return n
}

func announce(name string) { fmt.Printf("%s %d\n", name, os.Getpid()) }

// node starts what is below it, announces itself, and exits with leaderCode
// after a line on its standard input. The generation below is a daemon, as far
// as Windows has such: away from the console, in a process group of its own.
func node() {
	depth := number(envDepth)
	start := func(depth int) {
		for try := 0; ; try++ {
			child := role("node", envDepth+"="+fmt.Sprint(depth), envWidth+"=0")
			child.Stdout, child.Stdin = os.Stdout, nil
			child.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
			err := child.Start()
			if err == nil {
				return
			}
			// Under Wine a process may die before it has begun; it is not what is tested.
			if !errors.Is(err, windows.ERROR_INTERNAL_ERROR) || try == 5 {
				panic(err)
			}
		}
	}
	if depth > 0 {
		start(depth - 1)
	}
	for range number(envWidth) {
		start(0)
	}
	announce("node")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		select {}
	}
	os.Exit(leaderCode)
}

// owner is a service with one backend of three generations. It ends as the line
// on its standard input says.
func owner() {
	how := strings.Fields(os.Getenv(envOwner))
	var start func(cmd *exec.Cmd) error = (*exec.Cmd).Start
	for _, h := range how {
		switch h {
		case "nested": // in a job already, which allows another
			must(0, windows.AssignProcessToJobObject(must(windows.CreateJobObject(nil, nil)), windows.CurrentProcess()))
		case "refused": // in a job already, which allows no other
			refuseSelf()
		case "suspended": // as what cannot be born in its job
			sys.createProcess = func(_, _ *uint16, _, _ *windows.SecurityAttributes, _ bool, _ uint32, _, _ *uint16, _ *windows.StartupInfo, _ *windows.ProcessInformation) error {
				return errors.ErrUnsupported
			}
		case "stop-before-assign":
			sys.assign = stopAt(sys.assign)
		case "stop-after-birth":
			create := sys.createProcess
			sys.createProcess = func(path, line *uint16, p, th *windows.SecurityAttributes, inherit bool, flags uint32, env, dir *uint16, si *windows.StartupInfo, made *windows.ProcessInformation) error {
				must(0, create(path, line, p, th, inherit, flags|windows.CREATE_SUSPENDED, env, dir, si, made))
				return stopAt(nil)(0, made.Process)
			}
		case "stop-before-resume":
			resume := sys.resume
			sys.resume = func(p windows.Handle) error {
				return stopAt(func(_, p windows.Handle) error { return resume(p) })(0, p)
			}
		case "install":
			in := must(Job().Install(ctx(), registry.InstallOptions{}))
			start = func(cmd *exec.Cmd) error {
				_, err := registry.Start(in, cmd, registry.StartOptions{})
				return err
			}
		}
	}
	cmd := role("node", envDepth+"=2")
	cmd.Stdout = os.Stdout
	must(0, start(cmd))
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) == "panic" {
		panic("as ordered")
	}
}

// refuseSelf lets the assignment of this very process fail as it does where
// jobs cannot be nested.
func refuseSelf() {
	assign := sys.assign
	sys.assign = func(job, process windows.Handle) error {
		if process == windows.CurrentProcess() {
			return windows.ERROR_ACCESS_DENIED
		}
		return assign(job, process)
	}
	sys.inJob = func(windows.Handle, windows.Handle) (bool, error) { return true, nil }
}

// stopAt announces the process that a step is about, and never takes the step.
// This process itself passes.
func stopAt(step func(job, process windows.Handle) error) func(job, process windows.Handle) error {
	return func(job, process windows.Handle) error {
		if process == windows.CurrentProcess() {
			return step(job, process)
		}
		fmt.Printf("stopped %d\n", must(windows.GetProcessId(process)))
		select {}
	}
}

// proc is a process that a test has a handle of, and so knows from any other.
type proc struct {
	pid    int
	handle windows.Handle
}

// open returns the process that announced pid and lives. It is ended with the test.
func open(t *testing.T, pid int) proc {
	t.Helper()
	h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_TERMINATE|windows.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		t.Fatalf("open process %d: %v", pid, err)
	}
	t.Cleanup(func() {
		windows.TerminateProcess(h, 99)
		windows.CloseHandle(h)
	})
	return proc{pid, h}
}

// announced reads n lines and opens the processes that announced themselves.
func announced(t *testing.T, r *bufio.Reader, n int) []proc {
	t.Helper()
	procs := make([]proc, n)
	for i := range procs {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d of %d announcements: %q, %v", i, n, line, err)
		}
		var name string
		if _, err := fmt.Sscan(line, &name, &procs[i].pid); err != nil {
			t.Fatalf("announcement %q: %v", line, err)
		}
		procs[i] = open(t, procs[i].pid)
	}
	return procs
}

func survivors(procs []proc, within time.Duration) (left []int) {
	deadline := time.Now().Add(within)
	for _, p := range procs {
		wait := max(0, time.Until(deadline)).Milliseconds()
		if event, _ := windows.WaitForSingleObject(p.handle, uint32(wait)); event != windows.WAIT_OBJECT_0 {
			left = append(left, p.pid)
		}
	}
	return left
}

func wantGone(t *testing.T, procs ...proc) {
	t.Helper()
	if left := survivors(procs, 5*time.Second); left != nil {
		t.Errorf("%d of %d processes survive: %v", len(left), len(procs), left)
	}
}

// wantAlive is the control: without containment these live on.
func wantAlive(t *testing.T, procs ...proc) {
	t.Helper()
	if left := survivors(procs, settle); len(left) != len(procs) {
		t.Errorf("%d of %d processes ended, which nothing was to end", len(procs)-len(left), len(procs))
	}
}

// pipes gives cmd a standard input and output of its own; os.Pipe rather than
// StdoutPipe, so that Wait neither closes nor waits for them.
func pipes(t *testing.T, cmd *exec.Cmd) (stdin io.Writer, stdout *bufio.Reader, started func()) {
	t.Helper()
	inR, inW := must2(os.Pipe())
	outR, outW := must2(os.Pipe())
	cmd.Stdin, cmd.Stdout = inR, outW
	t.Cleanup(func() { inW.Close(); outR.Close() })
	return inW, bufio.NewReader(outR), func() { inR.Close(); outW.Close() }
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// backendTree is a running node with a child and a grandchild.
type backendTree struct {
	cmd   *exec.Cmd
	p     registry.Process // nil if started plainly
	stdin io.Writer
	procs []proc
}

// leader and others split the tree.
func (b backendTree) others() []proc {
	var others []proc
	for _, p := range b.procs {
		if p.pid != b.cmd.Process.Pid {
			others = append(others, p)
		}
	}
	return others
}

// startTree starts cmd as a node of three generations, under in or plainly if that is nil.
func startTree(t *testing.T, in registry.Installation, cmd *exec.Cmd, opts registry.StartOptions) backendTree {
	t.Helper()
	roleOf(cmd, "node", envDepth+"=2")
	stdin, stdout, started := pipes(t, cmd)
	b := backendTree{cmd: cmd, stdin: stdin}
	err := error(nil)
	if in == nil {
		err = cmd.Start()
	} else {
		b.p, err = registry.Start(in, cmd, opts)
	}
	started()
	if err != nil {
		t.Fatal(err)
	}
	b.procs = announced(t, stdout, 3)
	return b
}

func mustInstall(t *testing.T) *installation {
	t.Helper()
	in, err := Job().Install(t.Context(), registry.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(ctx()) })
	return in.(*installation)
}

func wantDone(t *testing.T, p registry.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Error("not done")
	}
}

func wantNotDone(t *testing.T, p registry.Process) {
	t.Helper()
	select {
	case <-p.Done():
		t.Error("done too early")
	default:
	}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	if !errors.As(err, &e) {
		t.Fatalf("Wait: %v", err)
	}
	return e.ExitCode()
}

// replace changes system calls for one test.
func replace(t *testing.T, change func(*system)) {
	t.Helper()
	saved := sys
	t.Cleanup(func() { sys = saved })
	change(&sys)
}
