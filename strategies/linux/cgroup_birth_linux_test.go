package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
)

func init() { Roles["born"] = bornRole }

const killedEnv = "CONTAIN_TEST_KILLED"

// TestCgroupDiesAtBirth: in a cgroup to which cgroup.kill was ever written, as in a job's
// that is used again, whoever is born in another one is killed before it has executed
// anything, and the fork says nothing of it. That is what probe, Install and Start say.
func TestCgroupDiesAtBirth(t *testing.T) {
	a := newArena(t)
	killed := a.group.Sub("killed")
	if err := errors.Join(killed.Make(), os.WriteFile(string(killed)+"/cgroup.kill", []byte("1"), 0)); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"before", "after"} { // the service came there before Install, or after
		t.Run(when, func(t *testing.T) {
			cmd := a.into(role("born", killedEnv+"="+string(killed)))
			cmd.Args = append(cmd.Args, when)
			said := played(t, cmd)
			if strings.Contains(said, "control: alive") {
				t.Skip("this kernel does not kill who is born there")
			}
			if want := "control: signal: killed\n"; !strings.HasPrefix(said, want) {
				t.Fatalf("%swant %s", said, want)
			}
			if strings.Count(said, "unsupported: ") != 2 || strings.Count(said, "cgroup.kill was ever written") != 2 {
				t.Errorf("%swant two errors that wrap ErrUnsupported and say why", said)
			}
			if !strings.HasSuffix(said, "children: 0\n") {
				t.Errorf("%swant no child that nobody has collected", said)
			}
		})
	}
}

// bornRole is a service in a cgroup that was killed once.
func bornRole() {
	killed := cgroupfs.Group(os.Getenv(killedEnv))
	report := func(what string, err error) {
		if errors.Is(err, errors.ErrUnsupported) {
			what = "unsupported: " + what
		}
		say("%s: %v", what, err)
	}
	var early registry.Installation
	var err error
	if os.Args[1] == "after" {
		early, err = Cgroup().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
		must(err)
	}
	must(os.WriteFile(string(killed)+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0))

	control := killed.Sub("control")
	must(control.Make())
	dir, err := os.Open(string(control))
	must(err)
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	must(cmd.Start())
	if err := cmd.Wait(); err != nil {
		say("control: %v", err)
	} else {
		say("control: alive")
	}
	must(control.Remove())

	report("probe", Cgroup().(registry.Prober).Probe(context.Background()))
	if early == nil {
		_, err := Cgroup().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
		report("install", err)
	} else {
		cmd := exec.Command("true")
		out, err := cmd.StdoutPipe()
		must(err)
		_, err = registry.Start(early, cmd, registry.StartOptions{})
		report("start", err)
		if _, err := out.Read(make([]byte, 1)); err == nil {
			say("a pipe of the command that did not start is open")
		}
		must(early.Close(context.Background()))
	}
	children := 0
	if unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) != unix.ECHILD {
		children++
	}
	say("children: %d", children)
}
