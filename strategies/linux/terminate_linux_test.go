package linux

import (
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// TestTerminateLetsNobodyGo: what a leader leaves is let go with LeaderExitLeave, but
// not once all of the backend was asked to end: whoever asked is to know who is left.
func TestTerminateLetsNobodyGo(t *testing.T) {
	for _, s := range []registry.Strategy{Cgroup(), Subreaper()} {
		t.Run(s.Describe().Name, func(t *testing.T) {
			if err := registry.Probe(t.Context(), s); err != nil {
				t.Skip(err)
			}
			i := install(t, s)
			l := newLiveness(t)
			cmd := l.carry(exec.Command("sh", "-c", `(trap "" TERM; echo stubborn >&3; exec sleep 1000) & echo leader >&3; exec sleep 1000`))
			p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitLeave})
			if err != nil {
				t.Fatal(err)
			}
			l.let()
			l.expect("leader", "stubborn")
			if err := p.Terminate(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "one is left", func() bool {
				left, err := p.Members()
				return err == nil && len(left) == 1 && left[0].Name == "sleep"
			})
			select {
			case <-p.Done():
				t.Fatal("done, and one is left")
			default:
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			l.wantGone()
		})
	}
}

// TestNobodyKnows: where a supervisor and its proxy were both killed, what they
// watched over may live, and nobody says that it is gone.
func TestNobodyKnows(t *testing.T) {
	s := Subreaper()
	if err := registry.Probe(t.Context(), s); err != nil {
		t.Skip(err)
	}
	i, err := s.Install(t.Context(), registry.InstallOptions{OutliveParent: true})
	if err != nil {
		t.Fatal(err)
	}
	p, left := bothKilled(t, i)
	for range 50 { // one of the two may have been quick enough to end the rest
		if len(left) > 0 {
			break
		}
		p, left = bothKilled(t, i)
	}
	for _, h := range left {
		defer func() { _ = proctree.Signal(h, unix.SIGKILL) }()
	}
	if len(left) == 0 {
		t.Fatal("nothing is left, so this shows nothing")
	}
	if ms, err := p.Members(); !errors.Is(err, registry.ErrLeft) {
		t.Errorf("members: %v, %v", ms, err)
	}
	if err := i.Close(t.Context()); !errors.Is(err, registry.ErrLeft) {
		t.Errorf("close: %v", err)
	}
	if err := i.Close(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

// bothKilled starts a backend with a daemon and kills its supervisor and its proxy. It
// returns who is left.
func bothKilled(t *testing.T, i registry.Installation) (registry.Process, []proctree.Process) {
	t.Helper()
	l := newLiveness(t)
	cmd := l.carry(exec.Command("sh", "-c", `setsid sh -c "echo daemon >&3; exec sleep 1000" & echo leader >&3; exec sleep 1000`))
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect("leader", "daemon")
	supers := supervisorsOf(t, cmd.Process.Pid)
	if len(supers) != 1 {
		t.Fatalf("supervisors: %v", supers)
	}
	for _, err := range []error{proctree.Signal(supers[0], unix.SIGKILL), cmd.Process.Kill()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	<-p.Done()
	_ = cmd.Wait()
	return p, l.holders()
}
