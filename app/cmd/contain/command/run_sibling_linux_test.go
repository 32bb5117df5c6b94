package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sidecarScript leaves a sidecar behind that, when it is told to by its standard
// input, has an orphan, says its PID, and lives on.
const sidecarScript = `exec 4<&0
sh -c 'echo sidecar $$; read go; (sleep 1000 & echo orphan $!); exec sleep 1000' 3>&- 2>/dev/null <&4 4<&- &
exec "$@" 4<&- </dev/null`

// TestRunBesideSidecar: in place of a shell that has another child contain ends all
// of its command, whoever is killed, and nothing of the other's.
func TestRunBesideSidecar(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, victim := range []string{"nobody", "supervisor", "guardian", "contain"} {
			t.Run(victim, func(t *testing.T) {
				live := newLiveness(t)
				command := runaway
				if victim == "nobody" { // it ends when it is asked to
					command = strings.Replace(runaway, "exec sleep 1000", `while :; do sleep 0.05; done`, 1)
				}
				p := start(t, live.carry(s.command("sh", append([]string{"-c", sidecarScript, "sh"},
					s.args("--", "sh", "-c", `trap "exit 5" USR1; `+command)...)...)))
				sidecar := handle(t, p, "sidecar")
				live.expectAll("leader", "daemon")
				if _, err := p.in.Write([]byte("go\n")); err != nil {
					t.Fatal(err)
				}
				orphan := handle(t, p, "orphan")
				want := 5
				if target := s.aboveLeader(t, p.cmd.Process.Pid, victim); target == 0 {
					p.send(unix.SIGUSR1)
				} else if want = 137; unix.Kill(target, unix.SIGKILL) != nil {
					t.Fatalf("cannot kill the %s", victim)
				}
				if p.wait(); victim != "contain" && p.cmd.ProcessState.ExitCode() != want {
					t.Errorf("%v, want exit code %d", p.cmd.ProcessState, want)
				}
				live.wantGone()
				for what, fd := range map[string]int{"the sidecar": sidecar, "its orphan": orphan} {
					if unix.PidfdSendSignal(fd, 0, nil, 0) != nil || exited(fd) {
						t.Errorf("%s was ended, too", what)
					}
				}
			})
		}
	})
}

// handle hears of a process, which the end of the test ends, and returns its pidfd.
func handle(t *testing.T, p *session, what string) int {
	t.Helper()
	var pid int
	if _, err := fmt.Sscanf(p.hear(what), what+" %d", &pid); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		_ = unix.Close(fd)
	})
	return fd
}

// exited reports whether the process of a pidfd has ended, a zombie being one.
func exited(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// aboveLeader returns the PID of the victim, 0 for nobody.
func (s *setting) aboveLeader(t *testing.T, contain int, victim string) int {
	t.Helper()
	if victim == "nobody" {
		return 0
	}
	if victim == "contain" {
		return contain
	}
	var chain []int // of supervisors
	eventually(t, "there is a supervisor", func() bool {
		chain = nil
		for pid := contain; ; {
			next := 0
			for _, child := range childrenOf(pid) {
				if status(child, "Name") == "contain-supervi" {
					next = child
				}
			}
			if next == 0 {
				return len(chain) > 0
			}
			chain, pid = append(chain, next), next
		}
	})
	if s.strategy == "linux/pidns" && len(chain) != 1 || s.strategy != "linux/pidns" && len(chain) != 2 {
		t.Fatalf("supervisors: %v", chain)
	}
	if victim == "guardian" {
		return chain[0]
	}
	return chain[len(chain)-1]
}

// TestRunRelayHeld: contain's death is noticed although another process of the same
// user has opened its end of the pipe that the supervisor reads.
func TestRunRelayHeld(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--", "sh", "-c", runaway)))
		live.expectAll("leader", "daemon")
		held := 0
		for fd, link := range descriptors(p.cmd.Process.Pid) {
			if !strings.HasPrefix(link, "pipe:") || link == live.link {
				continue
			}
			name := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "fd", strconv.Itoa(fd))
			if f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				defer f.Close()
				held++
			}
		}
		if held == 0 {
			t.Fatal("no pipe to hold: the test shows nothing")
		}
		_ = p.cmd.Process.Kill()
		live.wantGone()
	})
}
