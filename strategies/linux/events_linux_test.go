package linux

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

const strategyEnv = "CONTAIN_TEST_STRATEGY"

func init() { Roles["owner"] = ownerRole }

// ownerRole is a service that starts a tree and then ends as it is told.
func ownerRole() {
	unix.CloseOnExec(3)
	start := starterOf(os.Getenv(strategyEnv), registry.InstallOptions{})
	cmd := exec.Command("sh", "-c", treeScript)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	must(start(cmd))
	say("%d", cmd.Process.Pid)
	how, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	switch how {
	case "return\n":
	case "exit\n":
		os.Exit(7)
	case "panic\n":
		os.Stderr, _ = os.Open(os.DevNull)
		_ = unix.Dup2(int(os.Stderr.Fd()), 2)
		panic("as the test wants")
	case "exec\n":
		must(syscall.Exec("/bin/sleep", []string{"sleep", "1000"}, nil))
	default:
		select {}
	}
}

// owned starts an owner under the named strategy, and its tree.
func owned(t *testing.T, strategy string) (*service, *liveness) {
	t.Helper()
	l := newLiveness(t)
	s := startService(t, l.carry(role("owner", strategyEnv+"="+strategy)))
	l.let()
	s.hear()
	l.expect(treeLines...)
	return s, l
}

var ownersEnds = map[string]func(*service){
	"SIGKILL": func(s *service) { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() },
	"SIGTERM": func(s *service) { _ = s.cmd.Process.Signal(unix.SIGTERM); _ = s.cmd.Wait() },
	"return":  func(s *service) { s.tell("return"); _ = s.cmd.Wait() },
	"os.Exit": func(s *service) { s.tell("exit"); _ = s.cmd.Wait() },
	"panic":   func(s *service) { s.tell("panic"); _ = s.cmd.Wait() },
	"exec": func(s *service) {
		s.tell("exec")
		eventually(s.t, "the owner is another program", func() bool {
			p, err := proctree.Lookup(s.cmd.Process.Pid)
			return err == nil && p.Name == "sleep"
		})
	},
}

func TestOwnerEnds(t *testing.T) {
	for name, end := range ownersEnds {
		t.Run(name+"/"+SubreaperName, func(t *testing.T) {
			s, l := owned(t, SubreaperName)
			end(s)
			l.wantGone()
			noSupervisors(t)
		})
		t.Run(name+"/control", func(t *testing.T) {
			s, l := owned(t, "plain")
			end(s)
			if left := l.holders(); len(left) < 4 {
				t.Errorf("of a tree that nothing contains only %v is left: it proves nothing", left)
			}
		})
	}
}

// linux/pdeathsig reaches the leader alone, and says so.
func TestPdeathsigReachesTheLeaderOnly(t *testing.T) {
	for name, end := range ownersEnds {
		t.Run(name, func(t *testing.T) {
			l := newLiveness(t)
			s := startService(t, l.carry(role("owner", strategyEnv+"="+PdeathsigName)))
			l.let()
			s.hear()
			l.expect(treeLines...)
			leader := childrenOf(t, s.cmd.Process.Pid)[0]
			end(s)
			eventually(t, "the leader is gone", func() bool {
				p, err := proctree.Lookup(leader.PID)
				return err != nil || !p.Same(leader) || p.Zombie
			})
			if left := l.holders(); len(left) < 3 {
				t.Errorf("only %v is left: declare a longer reach", left)
			}
		})
	}
}

// underSubreaper starts a tree in this process.
func underSubreaper(t *testing.T, opts registry.StartOptions) (registry.Process, *exec.Cmd, *liveness) {
	t.Helper()
	i := install(t, Subreaper())
	l := newLiveness(t)
	cmd := l.tree()
	p, err := registry.Start(i, cmd, opts)
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	return p, cmd, l
}

func waitDone(t testing.TB, p registry.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(deadline):
		t.Fatal("Done is not closed")
	}
}

func TestWhoeverIsKilled(t *testing.T) {
	for name, kill := range map[string]func(t *testing.T, p registry.Process, cmd *exec.Cmd) error{
		"the proxy": func(_ *testing.T, _ registry.Process, cmd *exec.Cmd) error { return cmd.Process.Kill() },
		"the supervisor": func(t *testing.T, _ registry.Process, cmd *exec.Cmd) error {
			return proctree.Signal(supervisorOf(t, cmd), unix.SIGKILL)
		},
		"the leader":         func(_ *testing.T, p registry.Process, _ *exec.Cmd) error { return p.Signal(unix.SIGKILL) },
		"all by Kill":        func(_ *testing.T, p registry.Process, _ *exec.Cmd) error { return p.Kill() },
		"the leader, gently": func(_ *testing.T, p registry.Process, _ *exec.Cmd) error { return p.Signal(unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			p, cmd, l := underSubreaper(t, registry.StartOptions{})
			if err := kill(t, p, cmd); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			waitDone(t, p)
			l.wantGone()
			noSupervisors(t)
			if ms, err := p.Members(); err != nil || len(ms) != 0 {
				t.Errorf("members %v (%v) after Done", ms, err)
			}
		})
	}
}

// The control of the test above: who kills the process that he knows reaches
// that process.
func TestWhoeverIsKilledPlainly(t *testing.T) {
	l := newLiveness(t)
	cmd := l.tree()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if left := l.holders(); len(left) < 3 {
		t.Errorf("only %v is left of a tree that nothing contains", left)
	}
}

// Owner, proxy and supervisor at once: the leader goes, by the kernel alone. What
// else there is may stay; the limits say so.
func TestBothKilled(t *testing.T) {
	l := newLiveness(t)
	s := startService(t, l.carry(role("owner", strategyEnv+"="+SubreaperName)))
	l.let()
	s.hear()
	l.expect(treeLines...)
	proxy := childrenOf(t, s.cmd.Process.Pid)[0]
	super := childrenOf(t, proxy.PID)[0]
	var leader proctree.Process
	for _, p := range childrenOf(t, super.PID) {
		if p.Name == "sh" {
			leader = p
			break
		}
	}
	// Stopped, the supervisor and the proxy can do nothing before they are killed.
	for _, p := range []proctree.Process{super, proxy} {
		if err := proctree.Signal(p, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.cmd.Process.Kill()
	for _, p := range []proctree.Process{proxy, super} {
		_ = proctree.Signal(p, unix.SIGKILL)
	}
	eventually(t, "the leader is gone", func() bool {
		p, err := proctree.Lookup(leader.PID)
		return err != nil || !p.Same(leader) || p.Zombie
	})
}

func TestCloseEndsEverything(t *testing.T) {
	i := install(t, Subreaper())
	l := newLiveness(t)
	cmd := l.tree()
	if _, err := registry.Start(i, cmd, registry.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := i.Close(ctx); err != nil {
		t.Fatal(err)
	}
	l.wantGone()
	_ = cmd.Wait()
	noSupervisors(t)
}
