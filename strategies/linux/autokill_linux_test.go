package linux

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// These run where the kernel is Linux 7.1 or later: .ci/kernels has such.

func needAutokill(t *testing.T) {
	t.Helper()
	if err := registry.Probe(t.Context(), Autokill()); err != nil {
		t.Skip(err)
	}
}

// The end of the thread that started a backend is not the end of the backend, as it is
// where a parent-death signal ties it.
func TestAutokillOutlivesTheThread(t *testing.T) {
	needAutokill(t)
	i := install(t, Autokill())
	tied, signalled := newLiveness(t), newLiveness(t)
	cmd, control := tied.tree(), signalled.carry(exec.Command("sh", "-c", "echo leader >&3; exec sleep 1000"))
	control.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := make(chan error, 1)
	onEndingThread(func() { err <- errors.Join(under(i)(cmd), control.Start()) })
	if err := <-err; err != nil {
		t.Fatal(err)
	}
	tied.let()
	signalled.let()
	tied.expect(treeLines...)
	_ = control.Wait()
	signalled.wantGone() // so the thread has ended
	if n := len(tied.holders()); n < len(treeLines) {
		t.Errorf("%d processes are left of the tree: it ended with a thread", n)
	}
	_ = cmd.Process.Kill()
	tied.wantGone()
	_ = cmd.Wait()
}

// onEndingThread runs f on a thread that ends with it. The main thread, on which a
// goroutine may find itself, would not.
func onEndingThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlock
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		over := make(chan struct{})
		onEndingThread(func() { defer close(over); f() }) // on another: this one waits
		<-over
	}()
}

// With proxy and supervisor stopped, so that neither can do anything, the kernel ends
// the tree when the service is killed; unless a copy of the pidfd is left, and then
// when that goes.
func TestAutokillByTheLastCopy(t *testing.T) {
	needAutokill(t)
	leaky := newAutokillService(t, "leak")
	leaky.kill()
	tight := newAutokillService(t, "")
	tight.kill()
	tight.tree.wantGone()
	if n := len(leaky.tree.holders()); n < len(treeLines) {
		t.Errorf("%d processes are left of a tree whose pidfd somebody holds: something else ended it, and the test shows nothing", n)
	}
	if err := unix.Kill(leaky.leak, unix.SIGKILL); err != nil { // reaped only at the end of this test
		t.Fatal(err)
	}
	leaky.tree.wantGone()
}

// autokillService is a service of its own process with one backend, whose helpers are stopped.
type autokillService struct {
	cmd  *exec.Cmd
	tree *liveness
	leak int // the process that has a copy of the pidfd, 0 if none
}

func newAutokillService(t *testing.T, leak string) *autokillService {
	t.Helper()
	s := &autokillService{tree: newLiveness(t)}
	s.cmd = s.tree.carry(role("autokill-service", killEnv+"="+leak))
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	s.tree.let()
	s.tree.expect(treeLines...)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range strings.Fields(line) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("the service said %q", line)
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids[:2] {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a helper is stopped", func() bool {
			b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return strings.Contains(string(b), ") T ")
		})
	}
	s.leak = pids[2]
	return s
}

func (s *autokillService) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func init() { Roles["autokill-service"] = autokillServiceRole }

// autokillServiceRole starts a tree, says which processes its proxy, its supervisor and
// who else holds the pidfd are, and waits to be killed.
func autokillServiceRole() {
	i, err := Autokill().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	must(err)
	cmd := exec.Command("sh", "-c", treeScript)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	must(err)
	leak := 0
	if os.Getenv(killEnv) != "" {
		holder := exec.Command("sleep", "1000")
		holder.ExtraFiles = []*os.File{p.(*tree).h.tie}
		must(holder.Start())
		leak = holder.Process.Pid
	}
	say("%d %d %d", cmd.Process.Pid, p.(*tree).supervisor.PID, leak)
	select {}
}
