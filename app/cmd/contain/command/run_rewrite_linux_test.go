package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// TestRunRewrites: a signal arrives as what it is rewritten to and as nothing
// else, one that is swallowed does not arrive, the others are as they were. What
// is forwarded keeps its order, so that the fence comes after a second signal.
func TestRunRewrites(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		counted := []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, realTime}
		p := start(t, s.run(append([]string{"--grace", "1m",
			"--rewrite", "HUP=USR1", "--rewrite", "sigusr1=SIGHUP", "--rewrite", "INT=0", "--rewrite", "TERM=40", "--rewrite", "40=QUIT", "--"},
			s.counting(counted...)...)...))
		p.expect("ready.")
		for _, tc := range []struct{ sent, want syscall.Signal }{
			{unix.SIGHUP, unix.SIGUSR1},
			{unix.SIGUSR1, unix.SIGHUP}, // no chain
			{unix.SIGINT, 0},
			{unix.SIGTERM, realTime},
			{realTime, unix.SIGQUIT},
			{unix.SIGUSR2, unix.SIGUSR2},
			{unix.SIGQUIT, unix.SIGQUIT},
		} {
			for range 2 {
				p.send(tc.sent)
				if tc.want != 0 {
					p.expect(got(tc.want))
				}
				p.send(fence)
				p.expect(got(fence))
			}
		}
	})
}

// TestRunFirstSignal: SIGTERM arrives as --signal, from the environment, too, and
// the grace runs all the same: a command that ignores it is ended by force.
func TestRunFirstSignal(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		for name, cmd := range map[string]func(t *testing.T, signal, grace string, args ...string) *session{
			"flag": func(t *testing.T, signal, grace string, args ...string) *session {
				return start(t, s.run(append([]string{"--grace", grace, "--signal", signal, "--"}, args...)...))
			},
			"environment": func(t *testing.T, signal, grace string, args ...string) *session {
				c := s.run(append([]string{"--"}, args...)...)
				c.Env = append(c.Env, "CONTAIN_SIGNAL=sig"+strings.ToLower(signal), "CONTAIN_GRACE="+grace)
				return start(t, c)
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := cmd(t, "QUIT", "1m", s.counting(unix.SIGTERM, unix.SIGQUIT)...)
				p.expect("ready.")
				p.send(unix.SIGTERM)
				p.expect(got(unix.SIGQUIT))
				p.send(fence)
				p.expect(got(fence)) // and nothing in between
			})
			for signal, grace := range map[string]string{"QUIT": "100ms", "KILL": "1h"} {
				t.Run(name+" ends it by "+signal, func(t *testing.T) {
					p := cmd(t, signal, grace, "sh", "-c", `trap "" TERM QUIT; echo ready; while :; do read x; done`)
					p.expect("ready")
					p.send(unix.SIGTERM)
					if code := p.code(); code != 137 {
						t.Errorf("exit code %d, want 137", code)
					}
				})
			}
		}
	})
}

// TestRunSwallowsTerm: a SIGTERM that is swallowed starts no grace either.
func TestRunSwallowsTerm(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run(append([]string{"--rewrite", "TERM=0", "--grace", "0s", "--"}, s.counting(unix.SIGTERM)...)...))
		p.expect("ready.")
		p.send(unix.SIGTERM)
		// Each fence is a round of the supervisor's loop, in which a grace of
		// nothing would have ended the command.
		for range 5 {
			p.send(fence)
			p.expect(got(fence))
		}
	})
}

// TestRunRewritesForOrphans: with --on-exit=wait the signal is for those that CMD
// has left, and is rewritten for them, too.
func TestRunRewritesForOrphans(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		args := append([]string{"--on-exit=wait", "--grace", "1m", "--rewrite", "TERM=USR1", "--", "sh", "-c", `"$@" & exit 0`, "sh"},
			s.counting(unix.SIGTERM, unix.SIGUSR1)...)
		p := start(t, s.run(args...))
		p.expect("ready.")
		_, leader := below(t, p.cmd.Process.Pid)
		eventually(t, "the command has left it", func() bool { return status(leader, "Name") != "sh" })
		p.send(unix.SIGTERM)
		p.expect(got(unix.SIGUSR1))
		p.send(fence)
		p.expect(got(fence))
	})
}

// TestRunReportKilled: the report says who had to be killed, and how it ended.
func TestRunReportKilled(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		dir := t.TempDir()
		if s.cred != nil {
			for _, d := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
				if err := os.Chmod(d, 0o777); err != nil {
					t.Fatal(err)
				}
			}
		}
		file := filepath.Join(dir, "report.json")
		p := start(t, s.run("--report", file, "--exit-map", "143=6", "--", "sh", "-c",
			`(trap "" TERM; setsid sleep 1000) & (setsid sleep 1000) & echo ready; read x; kill -TERM $$`))
		p.expect("ready")
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("a report before the end: %v", err)
		}
		p.in.Close()
		if code := p.code(); code != 6 {
			t.Errorf("exit code %d, want 6; %s", code, p.stderr())
		}
		text, err := os.ReadFile(file)
		var rep runReport
		if err == nil {
			err = json.Unmarshal(text, &rep)
		}
		if err != nil || rep.Schema != 1 || rep.Strategy != s.strategy || rep.ExitCode != 6 || rep.Signal != 15 ||
			rep.Status != nil || rep.Killed < 2 || rep.Seconds <= 0 || len(rep.Command) != 3 {
			t.Errorf("%v, %s", err, text)
		}
		if named := names(rep.KilledProcesses); named["sh"]+named["setsid"]+named["sleep"] != rep.Killed {
			t.Errorf("killed: %v; %s", named, text)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("left beside it: %v", left)
		}
	})
}

// TestRunReportForced: all of what CMD leaves is counted and named.
func TestRunReportForced(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		file := filepath.Join(t.TempDir(), "report.json")
		s.cred = nil // who else may not write there
		for left := range 8 {
			// A contain that is stopped hears of all of it at once, in reads of 8 messages.
			script := fmt.Sprintf(`kill -STOP $(cut -d' ' -f4 /proc/$PPID/stat); i=0; while [ $i -lt %d ]; do sleep 1000 & i=$((i+1)); done; exit 0`, left)
			if s.strategy == "linux/pidns" { // sees nobody outside
				script = script[strings.Index(script, ";")+1:]
			}
			p := start(t, s.run("--report", file, "--", "sh", "-c", script))
			if code := p.code(); code != 0 {
				t.Errorf("exit code %d; %s", code, p.stderr())
			}
			text, err := os.ReadFile(file)
			var rep runReport
			if err == nil {
				err = json.Unmarshal(text, &rep)
			}
			if err != nil || rep.Killed != left || len(rep.KilledProcesses) != left {
				t.Errorf("%v, %s; want %d", err, text, left)
			}
		}
	})
}

// TestRunReportForcedAfterGrace: those that the grace was not enough for are named, CMD
// among them.
func TestRunReportForcedAfterGrace(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		file := filepath.Join(t.TempDir(), "report.json")
		s.cred = nil // who else may not write there
		p := start(t, s.run("--report", file, "--grace", "100ms", "--", "sh", "-c", `trap "" TERM; sleep 1000 & echo ready; wait; wait`))
		p.expect("ready")
		p.send(unix.SIGTERM)
		if code := p.code(); code != 137 {
			t.Errorf("exit code %d; %s", code, p.stderr())
		}
		text, err := os.ReadFile(file)
		var rep runReport
		if err == nil {
			err = json.Unmarshal(text, &rep)
		}
		if named := names(rep.KilledProcesses); err != nil || rep.Signal != 9 || rep.Killed != 2 || named["sh"] != 1 || named["sleep"] != 1 {
			t.Errorf("%v, %s", err, text)
		}
	})
}

// names counts processes by name.
func names(ms []registry.Member) map[string]int {
	count := map[string]int{}
	for _, m := range ms {
		if m.PID > 0 {
			count[m.Name]++
		}
	}
	return count
}

// TestTerminalInterruptMapped: an end by ^C that is mapped to an exit code is
// that exit code, and so no reason for a shell to end its loop.
func TestTerminalInterruptMapped(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		tt := s.shell(t)
		tt.write(s.line("--exit-map", "130=6", "--", "sh", "-c", `echo "running."; exec sleep 1000`) + `; echo "code $?."` + "\n")
		tt.only("running.")
		tt.write(ctrlC)
		tt.only("code 6.")
	})
}

// TestReportKeepsOwnerAndMode of the file that it replaces.
func TestReportKeepsOwnerAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o642); err != nil {
		t.Fatal(err)
	}
	r, err := openReport("--report", path)
	if err == nil {
		err = r.write(runReport{Schema: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o642 || int(info.Sys().(*syscall.Stat_t).Uid) != uid || info.Size() == 0 {
		t.Errorf("%v %v", info, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
}

// TestReportDistrustsLinks: a link of somebody else's in a directory like /tmp is not
// followed where the kernel would not.
func TestReportDistrustsLinks(t *testing.T) {
	on, err := os.ReadFile("/proc/sys/fs/protected_symlinks")
	if os.Geteuid() != 0 || err != nil || strings.TrimSpace(string(on)) != "1" {
		t.Skip("needs root and fs.protected_symlinks")
	}
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "open", "report.json")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(link), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	if _, err := openReport("--report", link); err != nil {
		t.Errorf("the control, a link of our own: %v", err)
	}
	if err := os.Chmod(filepath.Dir(link), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := openReport("--report", link); err == nil {
		t.Error("a link of somebody else's was followed")
	}
}

// TestReportNotThroughDescriptors: a report to /dev/stdout would replace the file
// that standard output is.
func TestReportNotThroughDescriptors(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{fmt.Sprintf("/dev/fd/%d", f.Fd()), fmt.Sprintf("/proc/self/fd/%d", f.Fd())} {
		if _, err := openReport("--report", name); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := openReport("--report", f.Name()); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}
