package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
)

// descriptors returns pid's, with what they refer to.
func descriptors(pid int) map[int]string {
	links := map[int]string{}
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, name := range names {
		if link, err := os.Readlink(name); err == nil {
			fd, _ := strconv.Atoi(filepath.Base(name))
			links[fd] = link
		}
	}
	return links
}

// TestRunDescriptors: inherited descriptors are the command's, and once it runs
// only the command's. It gets none of contain's own.
func TestRunDescriptors(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		args := append([]string{"-c", `exec 10>&3; exec "$@"`, "bash"}, s.args("--", "sh", "-c", `echo three >&3; echo ready; while :; do read x; done`)...)
		p := start(t, live.carry(s.command("bash", args...)))
		live.expect("three")
		p.expect("ready")
		super, leader := below(t, p.cmd.Process.Pid)
		theirs := descriptors(leader)
		var numbers []int
		for fd, link := range theirs {
			if link != live.link && descriptors(os.Getpid())[fd] == link {
				delete(theirs, fd) // this test's own caller left it open
				continue
			}
			numbers = append(numbers, fd)
		}
		if slices.Sort(numbers); !slices.Equal(numbers, []int{0, 1, 2, 3, 10}) || theirs[3] != live.link || theirs[10] != live.link {
			t.Errorf("the command has %v", theirs)
		}
		for who, pid := range map[string]int{"contain": p.cmd.Process.Pid, "the supervisor": super} {
			eventually(t, fmt.Sprintf("%s holds nothing of the command's: %v", who, descriptors(pid)), func() bool {
				for _, link := range descriptors(pid) {
					for _, its := range theirs {
						if link == its && link != "/dev/null" {
							return false
						}
					}
				}
				return true
			})
		}
	})
}

// TestRunNames: who kills contain by its name does not hit the supervisor.
func TestRunNames(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		cmd := s.run("--", "sh", "-c", "echo ready; while :; do read x; done")
		cmd.Args[0] = "contain"
		p := start(t, cmd)
		p.expect("ready")
		super, _ := below(t, p.cmd.Process.Pid)
		if name := status(super, "Name"); name != "contain-supervi" {
			t.Errorf("the supervisor's name is %q", name)
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", super))
		if words := strings.Trim(string(b), "\x00"); err != nil || words != "contain-supervisor" {
			t.Errorf("the supervisor's arguments are %q (%v)", b, err)
		}
		for _, tool := range [][]string{{"pgrep", "-x", "contain"}, {"pidof", "contain"}, {"pgrep", "-f", "^contain run"}} {
			if _, err := exec.LookPath(tool[0]); err != nil {
				continue
			}
			out, _ := exec.Command(tool[0], tool[1:]...).Output()
			found := strings.Fields(string(out))
			if !slices.Contains(found, strconv.Itoa(p.cmd.Process.Pid)) || slices.Contains(found, strconv.Itoa(super)) {
				t.Errorf("%q finds %v; contain is %d, the supervisor %d", tool, found, p.cmd.Process.Pid, super)
			}
		}
	})
}

// TestRunMirrorsStops: contain is as stopped as its command.
func TestRunMirrorsStops(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run(append([]string{"--"}, s.counting(unix.SIGUSR1)...)...))
		p.expect("ready.")
		contain := p.cmd.Process.Pid
		_, leader := below(t, contain)
		for range 3 {
			_ = unix.Kill(leader, unix.SIGSTOP)
			eventually(t, "contain stops with its command", func() bool { return state(contain) == "T" })
			_ = unix.Kill(leader, unix.SIGCONT)
			eventually(t, "contain continues with its command", func() bool { return state(contain) != "T" })
			p.send(unix.SIGUSR1)
			p.expect(got(unix.SIGUSR1))
		}
		// And the command with contain, when somebody stops it there: TSTP is forwarded.
		p.send(unix.SIGTSTP)
		eventually(t, "TSTP stops both", func() bool { return state(contain) == "T" && state(leader) == "T" })
		p.send(unix.SIGCONT)
		eventually(t, "CONT continues both", func() bool { return state(contain) != "T" && state(leader) != "T" })
	})
}

// TestRunSupervisorKilled: contain takes over, and says 137.
func TestRunSupervisorKilled(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--", "sh", "-c", runaway)))
		live.expect("leader")
		live.expect("daemon")
		super, _ := below(t, p.cmd.Process.Pid)
		if err := unix.Kill(super, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := p.code(); code != 137 || p.stderr() != "" {
			t.Errorf("exit code %d, want 137; standard error %q", code, p.stderr())
		}
		if _, ok := live.gone(50 * time.Millisecond); !ok {
			t.Error("contain has exited before what it contains")
		}
	})
}

// first returns contain run as PID 1 of a PID namespace with a /proc of its own.
func (s *setting) first(args ...string) *exec.Cmd {
	cmd := s.command("sh", append([]string{"-c", `mount -t proc proc /proc && exec "$@"`, "sh"}, s.args(args...)...)...)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	return cmd
}

// eachFirst runs f where this test may make PID namespaces: as root.
func eachFirst(t *testing.T, f func(t *testing.T, s *setting)) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be PID 1 with a /proc of its own")
	}
	eachSetting(t, func(t *testing.T, s *setting) {
		if s.cred == nil {
			f(t, s)
		}
	})
}

// TestRunAsFirst: as PID 1 contain forwards signals, and has a timer if it was asked for.
func TestRunAsFirst(t *testing.T) {
	eachFirst(t, func(t *testing.T, s *setting) {
		t.Parallel() // it waits
		t.Run("grace", func(t *testing.T) {
			p := start(t, s.first("--grace", "100ms", "--", "sh", "-c", `trap "" TERM; echo ready; exec sleep 1000`))
			p.expect("ready")
			p.send(unix.SIGTERM)
			if code := p.code(); code != 137 {
				t.Errorf("exit code %d, want 137", code)
			}
		})
		t.Run("no grace", func(t *testing.T) {
			long(t)
			t.Parallel()
			noTimer(t, s.first)
		})
		t.Run("leftovers", func(t *testing.T) {
			live := newLiveness(t)
			p := start(t, live.carry(s.first("--", "sh", "-c", `setsid sh -c 'trap "" TERM; sleep 1000; :' & exit 4`)))
			if code := p.code(); code != 4 {
				t.Errorf("exit code %d, want 4; %s", code, p.stderr())
			}
			live.wantGone()
		})
	})
}

// TestRunAsFirstOtherProc: where /proc shows another PID namespace, its numbers
// are others' numbers. All is ended all the same, or the command is not run.
func TestRunAsFirstOtherProc(t *testing.T) {
	eachFirst(t, func(t *testing.T, s *setting) {
		// Not contain is PID 1, whose end would end the others, but who started it.
		args := s.args("--", "sh", "-c", `setsid sh -c 'trap "" TERM; sleep 1000; :' & (exec setsid sleep 1000) & exit 4`)
		cmd := s.command("sh", append([]string{"-c", `"$@"; echo "code $?"; while :; do read x; done`, "sh"}, args...)...)
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID
		p := start(t, cmd)
		code := p.hear("exit code")
		if code != "code 4" && code != "code 125" {
			t.Errorf("%q, want 4, or 125 and no command run", code)
		}
		for _, pid := range childrenOf(p.cmd.Process.Pid) {
			if state(pid) != "Z" { // sh does not reap what it adopts
				t.Errorf("%s, but %s %d is left", code, status(pid, "Name"), pid)
			}
		}
	})
}

// TestRunAdopts: orphans of the tree, and as PID 1 those of others, are reaped,
// and their number leaves no trace.
func TestRunAdopts(t *testing.T) {
	const orphans = 2000
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do (true &); i=$((i+1)); done; echo done; while :; do read x; done`, orphans)
	eachFirst(t, func(t *testing.T, s *setting) {
		p := start(t, s.first("--", "sh", "-c", "echo ready; read x; "+script))
		p.expect("ready")
		contain := p.cmd.Process.Pid
		super, _ := below(t, contain)
		before := ownMemory(t, contain) + ownMemory(t, super)
		if _, err := p.in.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
		p.expect("done")
		// Others of the namespace: a process that joined it leaves its orphans to PID 1.
		if _, err := exec.LookPath("nsenter"); err == nil {
			out, err := exec.Command("nsenter", "-t", strconv.Itoa(contain), "-p", "-m", "sh", "-c",
				`i=0; while [ $i -lt 200 ]; do (true &); i=$((i+1)); done`).CombinedOutput()
			if err != nil {
				t.Fatalf("nsenter: %v %s", err, out)
			}
		}
		eventually(t, "every orphan is reaped", func() bool { return len(childrenOf(contain)) == 1 && len(childrenOf(super)) == 1 })
		if grown := ownMemory(t, contain) + ownMemory(t, super) - before; grown > 1<<20 {
			t.Errorf("%d orphans later contain and supervisor have grown by %d bytes from %d", orphans, grown, before)
		}
	})
}

// TestRunLeft: if something cannot die within the deadline, contain run does not
// end as if nothing were left. What the freezer of version 1 holds is such.
func TestRunLeft(t *testing.T) {
	long(t)
	const freezer = "/sys/fs/cgroup/freezer"
	group, err := os.MkdirTemp(freezer, "test-contain-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(group+"/freezer.state", []byte("THAWED"), 0); err != nil {
			t.Error(err)
		}
		eventually(t, "the group is empty", func() bool { return os.Remove(group) == nil })
	})
	eachSetting(t, func(t *testing.T, s *setting) {
		if s.cred != nil {
			t.Skip("the freezer is root's")
		}
		if s.strategy == "linux/pidns" {
			t.Skip("the kernel ends it, and waits for as long as it takes")
		}
		file := filepath.Join(t.TempDir(), "report.json")
		p := start(t, s.run("--report", file, "--", "sh", "-c", fmt.Sprintf("sleep 1000 >/dev/null 2>&1 & echo $! >%s/cgroup.procs; echo FROZEN >%[1]s/freezer.state; exit 7", group)))
		if code := p.code(); code != launch.ExitFailure {
			t.Errorf("exit code %d", code)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), `"status": 7`) || !strings.Contains(string(text), "processes are left") {
			t.Errorf("%v: %s", err, text)
		}
		if err := os.WriteFile(group+"/freezer.state", []byte("THAWED"), 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was left has ended", func() bool {
			left, err := os.ReadFile(group + "/cgroup.procs")
			return err == nil && len(left) == 0
		})
		// The next run removes the cgroup that could not be.
		if p := start(t, s.run("--", "true")); p.code() != 0 {
			t.Error(p.stderr())
		}
	})
}

// TestRunOpenFiles: the command has the limit on open files that contain was
// started with, not what the Go runtime makes of it for itself.
func TestRunOpenFiles(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, soft := range []string{"100", "9"} {
			p := start(t, s.command("sh", append([]string{"-c", `ulimit -Sn ` + soft + ` && exec "$@"`, "sh"}, s.args("--", "sh", "-c", "ulimit -Sn")...)...))
			p.expect(soft)
			if code := p.code(); code != 0 {
				t.Errorf("exit code %d; %s", code, p.stderr())
			}
		}
	})
}

// TestRunFewFiles: with too few open files allowed contain says so, on one line,
// and with as many as it asks for it works.
func TestRunFewFiles(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		limited := func(files int) *session {
			script := fmt.Sprintf(`ulimit -n %d && exec "$@"`, files)
			return start(t, s.command("sh", append([]string{"-c", script, "sh"}, s.args("--", "sh", "-c", "exit 3")...)...))
		}
		if p := limited(plain.MinFiles); p.code() != 3 {
			t.Errorf("with %d files: exit code %d, standard error %q", plain.MinFiles, p.code(), p.stderr())
		}
		for _, files := range []int{plain.MinFiles - 1, 12, 7, 6, 4} {
			p := limited(files)
			if said := p.stderr(); p.code() != launch.ExitFailure || strings.Count(said, "\n") != 1 || !strings.Contains(said, "ulimit -n") {
				t.Errorf("with %d files: exit code %d, standard error %q", files, p.code(), said)
			}
		}
	})
}

// TestRunCallers: contain run as cron, a service manager and a shell's & start it.
func TestRunCallers(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		t.Run("cron", func(t *testing.T) { // a shell in a session of its own
			cmd := s.command("sh", "-c", s.line("--", "sh", "-c", "exit 3")+"; exit $?")
			cmd.SysProcAttr.Setsid = true
			if code := start(t, cmd).code(); code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
		})
		t.Run("systemd", func(t *testing.T) { // contain itself leads the session
			live := newLiveness(t)
			cmd := live.carry(s.run("--", "sh", "-c", runaway))
			cmd.SysProcAttr.Setsid = true
			p := start(t, cmd)
			live.expect("leader")
			live.expect("daemon")
			p.send(unix.SIGTERM)
			if code := p.code(); code != launch.ExitSignalBase+int(unix.SIGTERM) {
				t.Errorf("exit code %d, want 143", code)
			}
			live.wantGone()
		})
		t.Run("&, and the shell exits", func(t *testing.T) {
			live := newLiveness(t)
			start(t, live.carry(s.command("sh", "-c", s.line("--", "sh", "-c", runaway)+" & read ready"))).leaveAfter(live)
			live.wantGone()
		})
		t.Run("&, to live on", func(t *testing.T) {
			live := newLiveness(t)
			start(t, live.carry(s.command("sh", "-c", s.line("--die-with-parent=false", "--", "sh", "-c", runaway)+" 2>/dev/null & read ready"))).leaveAfter(live)
			if _, gone := live.gone(50 * time.Millisecond); gone {
				t.Error("it ended with the shell")
			}
		})
	})
}

// leaveAfter lets a shell exit that reads a line, once its runaway command runs.
func (p *session) leaveAfter(live *liveness) {
	p.t.Helper()
	live.expect("leader")
	live.expect("daemon")
	fmt.Fprintln(p.in)
	p.wait()
}
