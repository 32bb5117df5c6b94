package linux

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// What the Limits of linux/cgroup say is so. Where a test here fails because more is kept
// than that, Limits is to say less.

func init() { Roles["leaver"] = leaverRole }

// leaverRole is a service with a backend that moves one of its processes to the cgroup OUT.
func leaverRole() {
	unix.CloseOnExec(3)
	cmd := exec.Command("sh", "-c", `sh -c 'echo $$ >"$OUT"/cgroup.procs && echo below >&3; exec sleep 1000' & echo leader >&3; wait`)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	must(starterOf(os.Getenv(strategyEnv), registry.InstallOptions{})(cmd))
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// TestBackendLeavesItsCgroup: linux/cgroup loses a backend of root's that moves to another
// cgroup. The control is linux/subreaper, which keeps hold of it.
func TestBackendLeavesItsCgroup(t *testing.T) {
	asRoot(t)
	for _, strategy := range []string{CgroupName, SubreaperName} {
		t.Run(strategy, func(t *testing.T) {
			a, out := newArena(t), newArena(t)
			l := newLiveness(t)
			s := startService(t, a.into(l.carry(role("leaver", strategyEnv+"="+strategy, "OUT="+string(out.group)))))
			l.let()
			l.expect("leader", "below")
			if strategy == SubreaperName {
				_ = s.cmd.Process.Kill()
				l.wantGone()
				return
			}
			_ = s.cmd.Process.Kill()
			a.wantNoTrees()
			if left := l.holders(); len(left) != 1 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// isTold reports whether a supervisor knows by now what to watch over: it then leaves the
// directory that it was started in.
func isTold(supervisor proctree.Process) bool {
	dir, err := os.Readlink("/proc/" + strconv.Itoa(supervisor.PID) + "/cwd")
	return err == nil && dir == "/"
}

// TestStoppedServiceHasOneSupervisor: while a service is stopped a supervisor that is
// killed is not replaced. What the service's end then leaves, the next Install ends. The
// control is a service that goes on: it replaces the supervisor.
func TestStoppedServiceHasOneSupervisor(t *testing.T) {
	for _, stopped := range []bool{true, false} {
		t.Run(map[bool]string{true: "stopped", false: "control"}[stopped], func(t *testing.T) {
			a := newArena(t)
			s, l := a.owner(CgroupName)
			if stopped {
				if err := s.cmd.Process.Signal(unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			before := helperOf(t, s)
			if err := proctree.Signal(before, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the supervisor has ended, or is another", func() bool {
				now := supervisorsOf(t, s.cmd.Process.Pid)
				if stopped {
					return len(now) == 0 || now[0].Zombie
				}
				return len(now) == 1 && !now[0].Same(before) && isTold(now[0])
			})
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			if !stopped {
				l.wantGone()
				return
			}
			eventually(t, "the leader has ended", func() bool {
				for _, p := range l.holders() {
					if p.PPID == s.cmd.Process.Pid {
						return false
					}
				}
				return true
			})
			if len(l.holders()) == 0 {
				t.Error("nothing is left: Limits says less than is true")
			}
			next, _ := a.owner(CgroupName)
			l.wantGone()
			_ = next.cmd.Process.Kill()
			a.wantNoTrees()
		})
	}
}
