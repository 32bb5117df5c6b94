package linux

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// askedScript is a leader that leaves a child and a daemon, each of which says so when it is
// asked to end. The leader exits at the first end of file.
const askedScript = `
polite='trap "echo asked >&3; exit" TERM; echo ready >&3; while :; do sleep 0.02; done'
sh -c "$polite" </dev/null &
setsid sh -c "(setsid sh -c '$polite' &)" </dev/null
cat >/dev/null; exit 7
`

// TestLeaderExitTerm: what a leader leaves is asked to end, once, and ended by force when
// the grace is over. The control is a leader whose rest is waited for: nobody asks it.
func TestLeaderExitTerm(t *testing.T) {
	for _, s := range []registry.Strategy{Cgroup(), Subreaper()} {
		for _, by := range []string{"start", "wrap"} {
			t.Run(s.Describe().Name+"/"+by, func(t *testing.T) {
				if err := registry.Probe(t.Context(), s); err != nil {
					t.Skip(err)
				}
				i := install(t, s)
				begin := func(cmd *exec.Cmd, opts registry.StartOptions) registry.Process {
					if by == "start" {
						p, err := registry.Start(i, cmd, opts)
						if err != nil {
							t.Fatal(err)
						}
						return p
					}
					p, err := i.(registry.Wrapper).Wrap(cmd, opts)
					if err == nil {
						err = cmd.Start()
					}
					if err != nil {
						t.Fatal(err)
					}
					return p
				}
				// left starts a leader, has it exit, and returns what is left.
				left := func(script string, opts registry.StartOptions, ready ...string) (registry.Process, *liveness) {
					l := newLiveness(t)
					cmd := l.carry(exec.Command("sh", "-c", script))
					in, err := cmd.StdinPipe()
					if err != nil {
						t.Fatal(err)
					}
					p := begin(cmd, opts)
					l.let()
					l.expect(ready...)
					in.Close()
					if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
						t.Errorf("the leader: %v", cmd.ProcessState)
					}
					return p, l
				}

				p, l := left(askedScript, registry.StartOptions{OnLeaderExit: registry.LeaderExitTerm, Grace: time.Hour}, "ready", "ready")
				l.expect("asked", "asked")
				<-p.Done()
				for line := range l.lines {
					t.Errorf("and then %q", line)
				}

				const stubborn = `(trap "" TERM; echo stubborn >&3; exec sleep 1000) & cat >/dev/null; exit 7`
				p, l = left(stubborn, registry.StartOptions{OnLeaderExit: registry.LeaderExitTerm, Grace: time.Millisecond}, "stubborn")
				l.wantGone()
				<-p.Done()

				p, l = left(askedScript, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait}, "ready", "ready")
				if members, err := p.Members(); err != nil || len(members) < 2 {
					t.Errorf("the control: %v, %v are left", members, err)
				}
				if err := p.Kill(); err != nil {
					t.Error(err)
				}
				for line := range l.lines {
					t.Errorf("the control says %q", line)
				}
				<-p.Done()
			})
		}
	}
}

// TestLeaderExitTermAsksOnce: a Terminate is the one request that what the leader leaves
// gets, and the other way round.
func TestLeaderExitTermAsksOnce(t *testing.T) {
	for _, s := range []registry.Strategy{Cgroup(), Subreaper()} {
		t.Run(s.Describe().Name, func(t *testing.T) {
			if err := registry.Probe(t.Context(), s); err != nil {
				t.Skip(err)
			}
			i := install(t, s)
			l := newLiveness(t)
			cmd := l.carry(exec.Command("sh", "-c", `
				(n=0; trap "echo asked >&3; n=5" TERM; echo ready >&3
				while :; do sleep 0.02; [ $n -gt 0 ] && n=$((n-1)) && [ $n = 0 ] && echo settled >&3; done) &
				cat >/dev/null; exit 7`))
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			p, err := registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitTerm, Grace: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			l.let()
			l.expect("ready")
			in.Close()
			l.expect("asked")
			if err := p.Terminate(); err != nil {
				t.Error(err)
			}
			l.expect("settled")
			_ = cmd.Wait()
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			for line := range l.lines {
				t.Errorf("and then %q", line)
			}
			<-p.Done()
		})
	}
}

// TestLeaderExitTermRefused: who cannot ask what a leader leaves starts nothing.
func TestLeaderExitTermRefused(t *testing.T) {
	for _, s := range []registry.Strategy{Pdeathsig(), Pidns()} {
		t.Run(s.Describe().Name, func(t *testing.T) {
			if err := registry.Probe(t.Context(), s); err != nil {
				t.Skip(err)
			}
			cmd := exec.Command("sh", "-c", "exit 3")
			_, err := registry.Start(install(t, s), cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitTerm})
			if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, registry.ErrNotPassed) || cmd.Process != nil {
				t.Errorf("%v, %v", err, cmd.Process)
			}
		})
	}
}
