package linux

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// The end of a supervisor must not orphan the service's process group: if anyone
// in it is stopped, the kernel sends SIGHUP to all of it.
func TestServiceGetsNoHangup(t *testing.T) {
	notShort(t)
	for _, strategy := range []string{SubreaperName, PidnsName} {
		for _, kill := range []string{"", "supervisor"} {
			cmd := role("stopped-backend", strategyEnv+"="+strategy, killEnv+"="+kill)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that the group is orphaned but for the backend
			if got := strings.TrimSpace(played(t, cmd)); got != "quiet" {
				t.Errorf("%s, kill %q: the service got %s", strategy, kill, got)
			}
		}
	}
	// The control: a parent in the service's session and another group does it.
	cmd := role("stopped-backend", strategyEnv+"=plain")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if got := strings.TrimSpace(played(t, cmd)); got != "SIGHUP" {
		t.Errorf("the control got %s, so the test shows nothing", got)
	}
}

const killEnv = "CONTAIN_TEST_KILL"

func init() {
	Roles["stopped-backend"] = stoppedBackendRole
	Roles["go-between"] = goBetweenRole
}

// stoppedBackendRole is a service with a stopped process in its group, whose
// backend then ends.
func stoppedBackendRole() {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	stopped := exec.Command("sleep", "1000")
	must(stopped.Start())
	must(stopped.Process.Signal(syscall.SIGSTOP))
	defer stopped.Wait()
	defer stopped.Process.Kill()
	backend := exec.Command("cat")
	name := os.Getenv(strategyEnv)
	if name == "plain" {
		backend = role("go-between")
		backend.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	in, err := backend.StdinPipe()
	must(err)
	must(starterOf(name, registry.InstallOptions{OutliveParent: true})(backend))
	select { // let the go-between have its child
	case <-hup:
		say("SIGHUP too early")
		return
	case <-time.After(200 * time.Millisecond):
	}
	if os.Getenv(killEnv) != "" {
		below, err := proctree.Descendants(backend.Process.Pid)
		must(err)
		must(proctree.Signal(below[0], syscall.SIGKILL))
	}
	_ = in.Close()
	_ = backend.Wait()
	select {
	case <-hup:
		say("SIGHUP")
	case <-time.After(300 * time.Millisecond):
		say("quiet")
	}
}

// goBetweenRole is what a supervisor must not be: in the service's session, in a
// group of its own, and parent of a process in the service's group.
func goBetweenRole() {
	home, err := unix.Getpgid(os.Getppid())
	must(err)
	child := exec.CommandContext(context.Background(), "sleep", "0.5")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: home}
	must(child.Start())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
