package linux

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// TestExitStateOfKilledProxy: who reads a command's output to its end and then kills it,
// as plugin libraries do, takes the status from cmd.Wait as often as not. ExitState has it.
func TestExitStateOfKilledProxy(t *testing.T) {
	notShort(t)
	const runs = 200
	for _, s := range []registry.Strategy{Subreaper(), Pidns()} {
		t.Run(s.Describe().Name, func(t *testing.T) {
			if err := registry.Probe(t.Context(), s); err != nil {
				t.Skip(err)
			}
			i := install(t, s)
			told := kernelTellsExit(t) || s == Subreaper()
			lost, unknown := 0, 0
			for range runs {
				cmd := exec.Command("true")
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				p, err := registry.Start(i, cmd, registry.StartOptions{})
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, out)
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil {
					lost++
				}
				switch state, err := p.(registry.ExitReporter).ExitState(t.Context()); {
				case errors.Is(err, unix.ENODATA):
					unknown++
				case err != nil:
					t.Fatal(err)
				case state != registry.ExitState{}:
					t.Errorf("ExitState is %v", state)
				}
				await(t, p)
			}
			t.Logf("of %d, cmd.Wait lost %d, and ExitState did not know %d", runs, lost, unknown)
			// An init may be killed between its wait and its report.
			if most := runs / 50; told && unknown > most || s == Subreaper() && unknown > 0 {
				t.Errorf("ExitState did not know %d", unknown)
			}
		})
	}
}

// kernelTellsExit reports whether a pidfd has the status of who has been reaped.
func kernelTellsExit(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exit 7")
	fd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	_ = cmd.Run()
	if fd < 0 {
		return false
	}
	defer unix.Close(fd)
	status, ok := exitStatus(fd)
	if ok && status != 7<<8 {
		t.Errorf("the status of a process that exits with 7 is %#x", status)
	}
	return ok
}

// TestExitState: whatever ends a leader, ExitState says the same as cmd.Wait; before
// that it says that it runs.
func TestExitState(t *testing.T) {
	now, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []registry.Strategy{Subreaper(), Pidns()} {
		t.Run(s.Describe().Name, func(t *testing.T) {
			if err := registry.Probe(t.Context(), s); err != nil {
				t.Skip(err)
			}
			i := install(t, s)
			for script, want := range map[string]registry.ExitState{
				"read x; exit 7":        {ExitCode: 7},
				"read x; kill -USR1 $$": {ExitCode: -1, Signal: int(unix.SIGUSR1)},
				"read x; kill -KILL $$": {ExitCode: -1, Signal: int(unix.SIGKILL)},
			} {
				cmd := exec.Command("sh", "-c", script)
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				p, err := registry.Start(i, cmd, registry.StartOptions{})
				if err != nil {
					t.Fatal(err)
				}
				reporter := p.(registry.ExitReporter)
				if state, err := reporter.ExitState(now); !errors.Is(err, registry.ErrRunning) {
					t.Errorf("of one that runs: %v, %v", state, err)
				}
				in.Close()
				_ = cmd.Wait()
				if state, err := reporter.ExitState(t.Context()); state != want || err != nil {
					t.Errorf("%s: %v, %v, want %v", script, state, err, want)
				}
				await(t, p)
			}
		})
	}
	t.Run("supervisor killed", func(t *testing.T) {
		i := install(t, Subreaper())
		cmd := exec.Command("sleep", "1000")
		p, err := registry.Start(i, cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(supervisorOf(t, cmd).PID, unix.SIGKILL)
		_ = cmd.Wait()
		if state, err := p.(registry.ExitReporter).ExitState(t.Context()); state.Signal != int(unix.SIGKILL) || err != nil {
			t.Errorf("%v, %v", state, err)
		}
		await(t, p)
	})
}

// TestPidfd: the pidfd is the leader's, whoever cmd.Process is, and there is none once the
// leader has gone.
func TestPidfd(t *testing.T) {
	for _, s := range working(t) {
		t.Run(s.Describe().Name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", "echo $$; exec cat")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			p, err := registry.Start(install(t, s), cmd, registry.StartOptions{})
			if err != nil {
				t.Fatal(err)
			}
			own, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			f, err := p.(registry.PidfdOpener).Pidfd()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("\nPid:\t%d\n", p.PID()); !strings.Contains(string(info), want) {
				t.Errorf("%s, want %q", info, want)
			}
			// As the leader numbers itself, in its own namespace.
			if numbers := proctree.Status(p.PID(), "NSpid"); len(numbers) == 0 || numbers[len(numbers)-1] != strings.TrimSpace(own) {
				t.Errorf("PID %d is %q in its namespaces, and says it is %s", p.PID(), numbers, own)
			}
			in.Close()
			_ = cmd.Wait()
			<-p.Done()
			if f, err := p.(registry.PidfdOpener).Pidfd(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("after the end: %v, %v", f, err)
			}
		})
	}
}
