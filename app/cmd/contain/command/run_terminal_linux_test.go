package command

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with the session of one command on it.
type terminal struct {
	t      testing.TB
	master *os.File
	cmd    *exec.Cmd
	ended  chan struct{}

	mu   sync.Mutex
	text string // what was shown and not yet expected
}

// onTerminal starts cmd as the leader of a session whose terminal is a new one.
func onTerminal(t testing.TB, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, slave, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = append(cmd.Env, "TERM=dumb", "PS1=<prompt>", "HISTFILE=")
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tt := &terminal{t: t, master: master, cmd: cmd, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(tt.ended) }()
	go tt.read()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-tt.ended
		master.Close()
	})
	return tt
}

// openTerminal opens a pair, pts(4). The terminal does not echo, so that only
// what programs say is read.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	attr, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		attr.Lflag &^= unix.ECHO | unix.ECHOCTL
		attr.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, attr)
	}
	return master, slave, err
}

func (tt *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := tt.master.Read(buf)
		tt.mu.Lock()
		tt.text += string(buf[:n])
		tt.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shown takes what was shown until want, and want.
func (tt *terminal) shown(want string) (before string, ok bool) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	before, after, ok := strings.Cut(tt.text, want)
	if ok {
		tt.text = after
	}
	return before, ok
}

// expect waits until want is shown, and returns what was shown before it.
func (tt *terminal) expect(want string) (before string) {
	tt.t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		before, ok := tt.shown(want)
		if ok {
			return before
		}
		if time.Now().After(end) {
			tt.t.Fatalf("no %q on the terminal, but %q", want, tt.text)
		}
	}
}

// only expects want and nothing before it.
func (tt *terminal) only(want string) {
	tt.t.Helper()
	if before := tt.expect(want); strings.TrimSpace(before) != "" {
		tt.t.Errorf("stray output %q before %q", before, want)
	}
}

func (tt *terminal) write(text string) {
	tt.t.Helper()
	if _, err := tt.master.WriteString(text); err != nil {
		tt.t.Fatal(err)
	}
}

func (tt *terminal) wait() {
	tt.t.Helper()
	select {
	case <-tt.ended:
	case <-time.After(deadline):
		tt.t.Fatalf("%v has not ended within %v; shown: %q", tt.cmd.Args, deadline, tt.text)
	}
}

const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"
)

// shell starts an interactive bash with job control.
func (s *setting) shell(t testing.TB) *terminal {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	tt := onTerminal(t, s.command(bash, "--norc", "--noprofile", "--noediting", "-i"))
	tt.expect("<prompt>")
	return tt
}

// line quotes contain run and its command for a shell.
func (s *setting) line(args ...string) string {
	words := s.args(args...)
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// TestTerminalInterrupt: one ^C reaches the command once, and ends a loop around
// contain. Under an interactive and a non-interactive shell.
func TestTerminalInterrupt(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		loop := "while :; do " + s.line("--", "sh", "-c", `echo "running."; exec sleep 1000`) + "; done"
		t.Run("interactive", func(t *testing.T) {
			tt := s.shell(t)
			tt.write(loop + "\n")
			tt.only("running.")
			tt.write(ctrlC)
			tt.only("<prompt>")
			tt.write("echo $?.\n")
			tt.only("130.")
		})
		t.Run("script", func(t *testing.T) {
			tt := onTerminal(t, s.command("bash", "-c", loop+"; echo after."))
			tt.only("running.")
			tt.write(ctrlC)
			tt.wait()
			if before, ok := tt.shown("after."); ok || strings.Contains(before, "running") {
				t.Errorf("the loop went on: %q", before)
			}
		})
		t.Run("caught", func(t *testing.T) {
			tt := s.shell(t)
			tt.write(s.line(append([]string{"--"}, s.counting(unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1)...)...) + "\n")
			tt.only("ready.")
			for _, key := range []string{ctrlC, "\x1c"} {
				tt.write(key)
				tt.only(map[string]string{ctrlC: "got 2.", "\x1c": "got 3."}[key])
			}
			contain := s.job(t, tt)
			// Again from elsewhere: this one is forwarded. The USR1 before it is a fence: a
			// busy contain may not have taken the terminal's INT yet, which the command
			// has, and two that are pending are one.
			for range 3 {
				s.kill(t, contain, unix.SIGUSR1)
				tt.only("got 10.")
				s.kill(t, contain, unix.SIGINT)
				tt.only("got 2.")
			}
			s.kill(t, contain, unix.SIGTERM)
			tt.expect("<prompt>")
		})
	})
}

// job returns the contain run that the shell has started.
func (s *setting) job(t testing.TB, tt *terminal) (pid int) {
	t.Helper()
	eventually(t, "the shell has one child", func() bool {
		c := childrenOf(tt.cmd.Process.Pid)
		if len(c) != 1 {
			return false
		}
		pid = c[0]
		return true
	})
	return pid
}

// kill signals a process that the test has started and that is not yet waited for.
func (s *setting) kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	time.Sleep(apart)
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// TestSupervisorStopped: a supervisor that somebody has stopped wakes up when
// contain is killed. On a terminal it leads a session of its own, so that the
// kernel does not continue it as a member of an orphaned group.
func TestSupervisorStopped(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		tt := onTerminal(t, live.carry(s.command("bash", "-c", s.line("--", "sh", "-c", runaway)+"; :")))
		live.expect("leader")
		live.expect("daemon")
		contain := s.job(t, tt)
		super, _ := below(t, contain)
		s.kill(t, super, unix.SIGSTOP)
		eventually(t, "the supervisor is stopped", func() bool { return state(super) == "T" })
		s.kill(t, contain, unix.SIGKILL)
		live.wantGone()
	})
}

// TestSupervisorKilledWaiting: with --on-exit=wait what the command has left is ended,
// too, when the supervisor is killed after the command's end.
func TestSupervisorKilledWaiting(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--on-exit=wait", "--", "sh", "-c", `setsid sh -c 'echo daemon >&3; while :; do sleep 1000; done' & read x; exit 7`)))
		live.expect("daemon")
		super, leader := below(t, p.cmd.Process.Pid)
		p.in.Close()
		eventually(t, "the command has ended", func() bool { return status(leader, "Name") != "sh" })
		s.kill(t, super, unix.SIGKILL)
		live.wantGone()
		if code := p.code(); code != 7 {
			t.Errorf("exit code %d, want the command's 7; %s", code, p.stderr())
		}
	})
}

// TestTerminalPipeline: contain run at the head of a pipeline, and in the middle.
func TestTerminalPipeline(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		tt := s.shell(t)
		tt.write(s.line("--", "printf", `a\nb\n`) + " | cat\n")
		tt.only("a\nb\n<prompt>")
		tt.write("printf 'c\\nd\\n' | " + s.line("--", "cat") + " | sort -r\n")
		tt.only("d\nc\n<prompt>")
		// Reading from the terminal works in the foreground.
		tt.write(s.line("--", "sh", "-c", `echo ask.; read x; echo "answer $x."`) + "\n")
		tt.only("ask.")
		tt.write("yes\n")
		tt.only("answer yes.")
		tt.only("<prompt>")
	})
}

// TestTerminalStops: ^Z stops the job, fg and bg continue it.
func TestTerminalStops(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		tt := s.shell(t)
		tt.write(s.line(append([]string{"--"}, s.counting(unix.SIGCONT, unix.SIGUSR1)...)...) + "\n")
		tt.only("ready.")
		contain := s.job(t, tt)
		_, leader := below(t, contain)
		group, err := unix.Getpgid(contain)
		if err != nil {
			t.Fatal(err)
		}
		for _, how := range []string{"fg", "bg", "fg", "kill -CONT %1; fg"} {
			eventually(t, "the job is in the foreground", func() bool {
				front, err := unix.IoctlGetInt(int(tt.master.Fd()), unix.TIOCGPGRP)
				return err == nil && front == group
			})
			tt.write(ctrlZ)
			tt.expect("Stopped")
			tt.expect("<prompt>")
			if state(contain) != "T" || state(leader) != "T" {
				t.Errorf("states of contain and command: %s %s", state(contain), state(leader))
			}
			tt.write(how + "\n")
			tt.expect("got 18.")
			eventually(t, how+" lets both run", func() bool { return state(contain) != "T" && state(leader) != "T" })
			if how == "bg" {
				tt.write("fg\n")
			}
			s.kill(t, contain, unix.SIGUSR1)
			// A shell continues a job that runs already again, for fg.
			if before := tt.expect("got 10."); how == "fg" && strings.Contains(before, "got") {
				t.Errorf("%s: continued twice: %q", how, before)
			}
		}
		s.kill(t, contain, unix.SIGTERM)
		tt.expect("<prompt>")
	})
}

// TestTerminalResize: the command gets SIGWINCH once.
func TestTerminalResize(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		tt := s.shell(t)
		tt.write(s.line(append([]string{"--"}, s.counting(unix.SIGWINCH, unix.SIGUSR1)...)...) + "\n")
		tt.only("ready.")
		contain := s.job(t, tt)
		for rows := range 3 {
			err := unix.IoctlSetWinsize(int(tt.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(30 + rows), Col: 100})
			if err != nil {
				t.Fatal(err)
			}
			tt.only("got 28.")
			s.kill(t, contain, unix.SIGUSR1)
			tt.only("got 10.")
		}
	})
}

// TestTerminalHangUp: when the terminal is lost, all ends, even what ignores
// SIGHUP: at once with the shell if contain is bound to it, else after the grace.
func TestTerminalHangUp(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		stubborn := `trap "" HUP TERM; setsid sh -c 'trap "" HUP; sleep 1000; :' & echo "ready."; while :; do sleep 1000; done`
		for name, cmd := range map[string][]string{
			"below a shell":            {"bash", "-c", s.line("--grace", "200ms", "--", "sh", "-c", stubborn) + "; :"},
			"below a shell, not bound": {"bash", "-c", s.line("--grace", "200ms", "--die-with-parent=false", "--", "sh", "-c", stubborn) + "; :"},
			"leader of its session":    s.args("--grace", "200ms", "--", "sh", "-c", stubborn),
		} {
			t.Run(name, func(t *testing.T) {
				live := newLiveness(t)
				tt := onTerminal(t, live.carry(s.command(cmd[0], cmd[1:]...)))
				tt.only("ready.")
				tt.master.Close()
				live.wantGone()
				tt.wait()
			})
		}
	})
}

// TestTerminalSessionLeader: as the leader of its session contain gives the
// terminal to the command, in a process group of its own, once.
func TestTerminalSessionLeader(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		args := append([]string{"--", "sh", "-c", `echo "begin."; read x; echo "read $x."; exec "$@"`, "sh"}, s.counting(unix.SIGINT, unix.SIGWINCH)...)
		cmd := s.run(args...)
		tt := onTerminal(t, cmd)
		tt.only("begin.")
		_, leader := below(t, cmd.Process.Pid)
		group, err := unix.Getpgid(leader)
		front, err2 := unix.IoctlGetInt(int(tt.master.Fd()), unix.TIOCGPGRP)
		if err != nil || err2 != nil || group != leader || front != leader {
			t.Errorf("the command's group is %d (%v), the foreground's %d (%v), want %d", group, err, front, err2, leader)
		}
		tt.write("hello\n")
		tt.only("read hello.")
		tt.only("ready.")
		for range 3 {
			tt.write(ctrlC)
			tt.only("got 2.")
			s.kill(t, cmd.Process.Pid, unix.SIGWINCH)
			tt.only("got 28.")
		}
		s.kill(t, cmd.Process.Pid, unix.SIGTERM)
		tt.wait()
		if code := cmd.ProcessState.ExitCode(); code != 143 {
			t.Errorf("%v, want exit code 143", cmd.ProcessState)
		}
	})
}
