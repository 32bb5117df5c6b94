package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

func needPidns(t *testing.T) registry.Installation {
	t.Helper()
	if err := registry.Probe(t.Context(), Pidns()); err != nil {
		t.Skip(err)
	}
	return install(t, Pidns())
}

// whatIsSeen says what a backend finds around itself.
const whatIsSeen = `echo pid $$ parent $PPID
echo init $(cat /proc/1/comm)
echo uid $(id -u) map $(cat /proc/self/uid_map)
for p in /proc/[0-9]*; do [ -e $p/status ] && case ${p#/proc/} in 1|$$) ;; *) grep -qx "PPid:	$$" $p/status || echo stranger $p;; esac; done
true`

func init() { Roles["pidns-sees"] = pidnsSeesRole }

func pidnsSeesRole() {
	worlds[os.Getenv(worldEnv)]()
	i, err := Pidns().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	if errors.Is(err, errors.ErrUnsupported) {
		say("unsupported: %v", err)
		return
	}
	must(err)
	cmd := exec.Command("sh", "-c", whatIsSeen)
	cmd.Stdout, cmd.Dir = os.Stdout, "/"
	_, err = registry.Start(i, cmd, registry.StartOptions{})
	must(err)
	must(cmd.Wait())
	must(i.Close(context.Background()))
}

// The backend is the second process of its namespace, below our init; nobody
// else is in its /proc; and only without privileges is it in a user namespace,
// where its own IDs are the only ones.
func TestPidnsSees(t *testing.T) {
	asRoot(t)
	all, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	for world, ids := range map[string]string{
		"":       "uid 0 map " + strings.Join(strings.Fields(string(all)), " "),
		"nobody": "uid 65534 map 65534 65534 1",
	} {
		t.Run("as "+world, func(t *testing.T) {
			got := played(t, role("pidns-sees", worldEnv+"="+world))
			if strings.HasPrefix(got, "unsupported") {
				t.Skip(got)
			}
			if want := "pid 2 parent 1\ninit contain-supervi\n" + ids + "\n"; got != want {
				t.Errorf("it sees\n%swant\n%s", got, want)
			}
		})
	}
}

// Signals to the process that the service knows arrive at the backend, each
// once, and those that would end a process without a handler do not end the init.
func TestPidnsForwardsSignals(t *testing.T) {
	i := needPidns(t)
	l := newLiveness(t)
	cmd := l.carry(exec.Command("sh", "-c", `for s in HUP INT QUIT USR1 USR2 TERM WINCH ALRM; do trap "echo $s >&3" $s; done
echo ready >&3; while :; do sleep 1000 & wait; done`))
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect("ready")
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM, unix.SIGWINCH, unix.SIGALRM} {
		name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		l.expect(name) // one too many would be found by the next
		if err := p.Signal(sig); err != nil {
			t.Fatal(err)
		}
		l.expect(name)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, p)
	l.wantGone()
}

// The service sees the end that the backend had, as without a namespace.
func TestPidnsMirrorsTheEnd(t *testing.T) {
	i := needPidns(t)
	for _, script := range []string{"exit 0", "exit 7", "exit 255", "kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "kill -QUIT $$", "kill -USR1 $$"} {
		ends := func(start starter) syscall.WaitStatus {
			cmd := exec.Command("sh", "-c", "ulimit -c 0; "+script)
			if err := start(cmd); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			return cmd.ProcessState.Sys().(syscall.WaitStatus)
		}
		if got, want := ends(under(i)), ends(plain); got != want {
			t.Errorf("%s: status %#x, want %#x", script, got, want)
		}
	}
}

// Orphans are the init's, which reaps them while the leader goes on.
func TestPidnsReaps(t *testing.T) {
	i := needPidns(t)
	l := newLiveness(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := l.carry(exec.Command("sh", "-c", `n=0; while [ $n -lt 20 ]; do (sh -c "exit 3" &); n=$((n+1)); done; echo made >&3; read x <&4`))
	cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	l.let()
	l.expect("made")
	eventually(t, "init and leader are all that is left, zombies included", func() bool {
		below, err := proctree.Descendants(cmd.Process.Pid)
		return err == nil && len(below) == 2
	})
	w.Close()
	_ = cmd.Wait()
	await(t, p)
	l.wantGone()
}

// Whichever of our own processes is killed, the kernel ends the namespace; that
// one of them is stopped does not keep it from that. The control is
// TestWhoeverIsKilledPlainly.
func TestPidnsHelpersDie(t *testing.T) {
	for name, kill := range map[string]func(t *testing.T, proxy, init proctree.Process) error{
		"the proxy": func(_ *testing.T, proxy, _ proctree.Process) error { return proctree.Signal(proxy, unix.SIGKILL) },
		"the init":  func(_ *testing.T, _, init proctree.Process) error { return proctree.Signal(init, unix.SIGKILL) },
		"the proxy, with the init stopped": func(t *testing.T, proxy, init proctree.Process) error {
			stop(t, init)
			return proctree.Signal(proxy, unix.SIGKILL)
		},
		"the init, with the proxy stopped": func(t *testing.T, proxy, init proctree.Process) error {
			stop(t, proxy)
			err := proctree.Signal(init, unix.SIGKILL)
			t.Cleanup(func() { _ = proctree.Signal(proxy, unix.SIGKILL) })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := needPidns(t)
			l := newLiveness(t)
			cmd := l.tree()
			p, err := registry.Start(i, cmd, registry.StartOptions{})
			if err != nil {
				t.Fatal(err)
			}
			l.let()
			l.expect(treeLines...)
			proxy, err := proctree.Lookup(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := kill(t, proxy, supervisorOf(t, cmd)); err != nil {
				t.Fatal(err)
			}
			l.wantGone()
			_ = proctree.Signal(proxy, unix.SIGCONT)
			_ = cmd.Wait()
			await(t, p)
		})
	}
}

// stop stops p and waits until all of its threads are.
func stop(t *testing.T, p proctree.Process) {
	t.Helper()
	if err := proctree.Signal(p, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, p.Name+" is stopped", func() bool { return strings.HasPrefix(statusField(p.PID, "State"), "T") })
}
