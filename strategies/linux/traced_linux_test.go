package linux

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

func init() { Roles["tracer"] = tracerRole }

const tracedEnv = "CONTAIN_TEST_TRACED"

// tracerRole stops a process as a debugger does, and lets it go when it is told to.
func tracerRole() {
	runtime.LockOSThread() // ptrace(2) is about threads
	pid, err := strconv.Atoi(os.Getenv(tracedEnv))
	must(err)
	if err := unix.PtraceSeize(pid); err != nil {
		say("not permitted: %v", err) // Yama, or another's process
		return
	}
	must(unix.PtraceInterrupt(pid))
	var status unix.WaitStatus
	_, err = unix.Wait4(pid, &status, unix.WALL, nil)
	must(err)
	say("traced")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	_ = unix.PtraceDetach(pid)
}

// TestSupervisorTraced: what Limits says of a supervisor that somebody traces. The tree of
// an owner that ends meanwhile ends when the tracer lets the supervisor go on, or ends itself.
func TestSupervisorTraced(t *testing.T) {
	for name, letGo := range map[string]func(*service){
		"detached":      func(s *service) { s.tell("detach") },
		"tracer killed": func(s *service) { _ = s.cmd.Process.Kill() },
	} {
		for _, strategy := range []registry.Strategy{Subreaper(), Cgroup()} {
			t.Run(strategy.Describe().Name+"/"+name, func(t *testing.T) {
				if err := registry.Probe(t.Context(), strategy); err != nil {
					t.Skip(err)
				}
				s, l := owned(t, strategy.Describe().Name)
				tracer := startService(t, role("tracer", tracedEnv+"="+strconv.Itoa(helperOf(t, s).PID)))
				if said := tracer.hear(); said != "traced" {
					t.Skip(said)
				}
				_ = s.cmd.Process.Kill()
				_ = s.cmd.Wait()
				if len(l.holders()) == 0 {
					t.Error("the tree has ended although its supervisor was traced: Limits says less than is true")
				}
				letGo(tracer)
				l.wantGone()
			})
		}
	}
}

// helperOf returns the one supervisor or watcher of a service: its child, or its proxy's, the
// last of the name.
func helperOf(t *testing.T, s *service) proctree.Process {
	t.Helper()
	below, err := proctree.Descendants(s.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	var found []proctree.Process
	for _, p := range below {
		if p.Name == argv0Name {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		t.Fatal("there is no supervisor")
	}
	return found[len(found)-1]
}
