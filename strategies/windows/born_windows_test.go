package windows

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unicode/utf16"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

// TestBorn: a command with the streams of this process is in its job although it
// was neither assigned nor resumed, and exec.Cmd does not miss that it did not
// start it.
func TestBorn(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		replace(t, func(s *system) {
			s.assign = func(windows.Handle, windows.Handle) error { return failure }
			s.resume = func(windows.Handle) error { return failure }
		})
		cmd := role("node", envDepth+"=1")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		stdin, ours, err := os.Pipe() // the leader exits after a line
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		oldIn, oldOut := os.Stdin, os.Stdout
		os.Stdin, os.Stdout = stdin, w
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		p, err := registry.Start(in, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
		os.Stdin, os.Stdout = oldIn, oldOut
		w.Close()
		stdin.Close()
		if err != nil {
			t.Fatal(err)
		}
		tree := announced(t, bufio.NewReader(r), 2)
		for _, q := range tree {
			if held, err := jobobject.Contains(q.handle, p.(*backend).job); err != nil || !held {
				t.Errorf("process %d is outside of its job (%v)", q.pid, err)
			}
		}
		if cmd.Process == nil || cmd.Process.Pid != p.PID() {
			t.Fatalf("the command's process is %v, the backend's %d", cmd.Process, p.PID())
		}
		if _, err := ours.WriteString("\n"); err != nil {
			t.Error(err)
		}
		if code := exitCode(t, cmd.Wait()); code != leaderCode {
			t.Errorf("exit code %d, want %d", code, leaderCode)
		}
		wantNotDone(t, p)
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		wantGone(t, tree...)
		wantDone(t, p)
	})
}

// TestBornElseSuspended: what cannot be born in its job is started all the same.
func TestBornElseSuspended(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		replace(t, func(s *system) {
			s.createProcess = func(_, _ *uint16, _, _ *windows.SecurityAttributes, _ bool, _ uint32, _, _ *uint16, _ *windows.StartupInfo, _ *windows.ProcessInformation) error {
				return failure
			}
		})
		cmd := role("exit")
		p, err := registry.Start(in, cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		wantDone(t, p)
		if err := in.Close(ctx()); err != nil {
			t.Error(err)
		}
		if _, err := registry.Start(in, role("exit"), registry.StartOptions{}); err == nil {
			t.Error("a start after Close")
		}
	})
}

func TestCanBeBorn(t *testing.T) {
	const path = `C:\a.exe`
	piped := &exec.Cmd{Path: path}
	pipe, err := piped.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for name, tt := range map[string]struct {
		cmd  *exec.Cmd
		want bool
	}{
		"no streams":     {&exec.Cmd{Path: path}, true},
		"own streams":    {&exec.Cmd{Path: path, Stdin: os.Stdin, Stdout: os.Stderr, Stderr: os.Stderr}, true},
		"flags":          {&exec.Cmd{Path: path, SysProcAttr: &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}}, true},
		"a context":      {exec.CommandContext(context.Background(), path), false},
		"a pipe":         {piped, false},
		"no extension":   {&exec.Cmd{Path: `C:\a`}, false},
		"relative":       {&exec.Cmd{Path: `a.exe`}, false},
		"another parent": {&exec.Cmd{Path: path, SysProcAttr: &syscall.SysProcAttr{ParentProcess: 1}}, false},
	} {
		if got := canBeBorn(tt.cmd); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestEnvironmentBlock(t *testing.T) {
	got, err := environmentBlock([]string{"b=2", `=C:=C:\x`, "A=1"})
	if want := "=C:=C:\\x\x00A=1\x00b=2\x00\x00"; err != nil || string(utf16.Decode(got)) != want {
		t.Errorf("%q (%v), want %q", string(utf16.Decode(got)), err, want)
	}
	if got, err := environmentBlock(nil); err != nil || len(got) != 2 {
		t.Errorf("an empty environment: %v (%v)", got, err)
	}
	if _, err := environmentBlock([]string{"a=\x00"}); err == nil {
		t.Error("a NUL is passed on")
	}
}
