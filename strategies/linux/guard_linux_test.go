package linux

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

const fileEnv = "CONTAIN_TEST_FILE"

func init() { Roles["owner-gone"] = ownerGoneRole }

// ownerGoneRole starts commands for an owner that has ended already, as far as the
// supervisor can see, and for one that has not.
func ownerGoneRole() {
	start := starterOf(os.Getenv(strategyEnv), registry.InstallOptions{})
	touch := func(name string) *exec.Cmd {
		return exec.Command("touch", filepath.Join(os.Getenv(fileEnv), name))
	}
	cmd := touch("control")
	must(start(cmd))
	must(cmd.Wait())

	other := exec.Command("true")
	pidfd := -1
	other.SysProcAttr = &unix.SysProcAttr{PidFD: &pidfd}
	must(other.Start())
	must(other.Wait())
	gone := os.NewFile(uintptr(pidfd), "pidfd of a process that has ended")
	ownPidfd = func() *os.File { return gone }
	for range 30 {
		err := start(touch("never"))
		var failed *supervisor.StartError
		if !errors.As(err, &failed) || failed.Step != entry.StepGuard {
			say("not refused by the guard: %v", err)
		}
	}
	say("done")
}

// TestOwnerEndedBeforeRegistration: once the owner is watched it is looked at again,
// and if it has ended by then the command never runs.
func TestOwnerEndedBeforeRegistration(t *testing.T) {
	for _, strategy := range working(t) {
		s := strategy.Describe().Name
		if d := strategy.Describe(); d.Supervisor == nil || s == CgroupName {
			continue // nothing of ours looks, or, for linux/cgroup, at each start
		}
		t.Run(s, func(t *testing.T) {
			dir := t.TempDir()
			if out := played(t, role("owner-gone", strategyEnv+"="+s, fileEnv+"="+dir)); out != "done\n" {
				t.Errorf("%s", out)
			}
			if _, err := os.Stat(filepath.Join(dir, "control")); err != nil {
				t.Errorf("the control did not run: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "never")); err == nil {
				t.Error("a command ran whose owner was gone before it was watched")
			}
		})
	}
}

// TestProxyKilledSupervisorStopped: a supervisor that somebody has stopped wakes up
// when its proxy is killed, and ends the tree.
func TestProxyKilledSupervisorStopped(t *testing.T) {
	i := install(t, Subreaper())
	l := newLiveness(t)
	cmd := l.tree()
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	super := supervisorOf(t, cmd)
	if err := proctree.Signal(super, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor is stopped", func() bool { return statusField(super.PID, "State")[0] == 'T' })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitDone(t, p)
	l.wantGone()
}
