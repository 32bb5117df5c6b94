package command

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRunNoTimer: without --grace a command may take as long as it likes after a
// SIGTERM, as under tini, dumb-init and timeout without -k. SIGKILL ends it all.
func TestRunNoTimer(t *testing.T) {
	long(t)
	eachSetting(t, func(t *testing.T, s *setting) {
		t.Parallel() // it waits
		noTimer(t, s.run)
	})
}

// noTimer asserts that of a command whose contain gets a SIGTERM.
func noTimer(t *testing.T, run func(args ...string) *exec.Cmd) {
	live := newLiveness(t)
	p := start(t, live.carry(run("--", "sh", "-c",
		`trap "echo checkpoint" TERM; setsid sleep 1000 & echo ready; while :; do read x; done`)))
	p.expect("ready")
	p.send(unix.SIGTERM)
	p.expect("checkpoint")
	// Longer than any grace of ours can only be seen by waiting.
	select {
	case <-p.ended:
		t.Errorf("ended: %v", p.cmd.ProcessState)
	case <-time.After(5500 * time.Millisecond):
	}
	_ = p.cmd.Process.Kill()
	live.wantGone()
}

// orderly is a command that ends in order when it is asked to, and says by which
// signal on descriptor 3; so does not its daemon.
const orderly = `trap "echo TERM >&3; exit 3" TERM; trap "echo QUIT >&3; exit 3" QUIT
setsid sh -c 'trap "" TERM QUIT HUP; echo daemon >&3; sleep 1000; :' & echo ready >&3; while :; do sleep 0.05; done`

// TestRunParentEnds: when contain's parent is killed, its command ends in order, and
// what that leaves by force.
func TestRunParentEnds(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		for name, tc := range map[string]struct {
			flags []string
			want  string
		}{
			"as a rule":   {nil, "TERM"},
			"with signal": {[]string{"--signal", "QUIT"}, "QUIT"},
		} {
			t.Run(name, func(t *testing.T) {
				live := newLiveness(t)
				p := start(t, live.carry(s.command("sh", append([]string{"-c", `"$@" & wait`, "sh"},
					s.args(append(tc.flags, "--", "sh", "-c", orderly)...)...)...)))
				live.expectAll("daemon", "ready")
				_ = p.cmd.Process.Kill()
				if wrote := live.wantGone(); len(wrote) != 1 || wrote[0] != tc.want {
					t.Errorf("it wrote %q, want %s", wrote, tc.want)
				}
			})
		}
	})
}

// TestRunParentEndsForced: what does not end when the parent has is ended by force,
// after the grace, even where the SIGTERM is swallowed; and without one, too.
func TestRunParentEndsForced(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		t.Parallel() // it waits
		for name, flags := range map[string][]string{
			"grace":     {"--grace", "100ms"},
			"swallowed": {"--grace", "100ms", "--rewrite", "TERM=0"},
			"no grace":  nil,
		} {
			t.Run(name, func(t *testing.T) {
				if flags == nil {
					long(t)
				}
				t.Parallel()
				live := newLiveness(t)
				p := start(t, live.carry(s.command("sh", append([]string{"-c", `"$@" & wait`, "sh"},
					s.args(append(flags, "--", "sh", "-c", `trap "echo TERM >&3" TERM; setsid sleep 1000 & echo ready >&3; while :; do sleep 0.05; done`)...)...)...)))
				live.expect("ready")
				_ = p.cmd.Process.Kill()
				wrote := live.wantGone()
				asked, silent := len(wrote) == 1 && wrote[0] == "TERM", len(wrote) == 0
				if !map[string]bool{
					"grace":     asked || silent, // too short for a slow machine to say so
					"swallowed": silent,
					"no grace":  asked,
				}[name] {
					t.Errorf("it wrote %q", wrote)
				}
			})
		}
	})
}

// TestRunParentEndsControl: without contain the same command hears nothing of it.
func TestRunParentEndsControl(t *testing.T) {
	live := newLiveness(t)
	p := start(t, live.carry(exec.Command("sh", "-c", `sh -c "$0" & wait`, orderly)))
	live.expectAll("daemon", "ready")
	_ = p.cmd.Process.Kill()
	if wrote, gone := live.gone(100 * time.Millisecond); gone || len(wrote) > 0 {
		t.Errorf("it wrote %q, and is gone: %v", wrote, gone)
	}
}
