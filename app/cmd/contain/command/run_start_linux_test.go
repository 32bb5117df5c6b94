package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
)

// eachStart runs f with every way to start a command: plainly, as the control, with
// each strategy that works here, and without a flag.
func eachStart(t *testing.T, f func(t *testing.T, s *setting, with func(cmd ...string) []string)) {
	t.Run("plainly", func(t *testing.T) {
		f(t, &setting{t: t, bin: containBinary(t)}, func(cmd ...string) []string { return cmd })
	})
	eachSetting(t, func(t *testing.T, s *setting) {
		t.Run("named", func(t *testing.T) {
			f(t, s, func(cmd ...string) []string { return s.args(append([]string{"--"}, cmd...)...) })
		})
		if s.strategy == strategies[0] || s.cred != nil && s.strategy == strategies[1] {
			t.Run("no flag", func(t *testing.T) {
				f(t, s, func(cmd ...string) []string { return append([]string{s.bin, "run", "--"}, cmd...) })
			})
		}
	})
}

// output is what args write, with env, as this setting's user.
func (s *setting) output(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// Not an exec.Cmd, which tidies the environment up.
	p, err := os.StartProcess(path, args, &os.ProcAttr{Dir: "/", Env: env, Files: []*os.File{nil, w, w}, Sys: s.command("true").SysProcAttr})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	state, err2 := p.Wait()
	if err = errors.Join(err, err2); err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return string(out), err
}

// TestRunSocketActivation: what a service manager has meant for the process that it
// started is meant for the command: its PID, and only its.
func TestRunSocketActivation(t *testing.T) {
	const show = `for v in "$LISTEN_PID" "$WATCHDOG_PID"; do test "$v" = $$ && printf "mine " || printf "$v "; done; echo "$LISTEN_FDS ${LISTEN_PIDFDID-unset}"`
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		for _, tc := range []struct{ set, want string }{
			{`LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_FDS=2`, "mine mine 2 unset"},
			{`LISTEN_PID=$$ WATCHDOG_PID=1 LISTEN_FDS=2`, "mine 1 2 unset"},
			{`LISTEN_PID=1 WATCHDOG_PID=$$ LISTEN_FDS=2 LISTEN_PIDFDID=7`, "1 mine 2 7"},
			{`LISTEN_PID=1$$ WATCHDOG_PID=0$$ LISTEN_FDS=1`, "1"},
		} {
			args := append([]string{"sh", "-c", tc.set + ` exec "$@"`, "sh"}, with("sh", "-c", show)...)
			got, err := s.output(t, os.Environ(), args...)
			if err != nil || !strings.HasPrefix(got, tc.want) || !strings.Contains(tc.want, "mine") && strings.Contains(got, "mine") {
				t.Errorf("%s: %v %q, want %q", tc.set, err, got, tc.want)
			}
		}
		if strings.HasSuffix(t.Name(), "/plainly") {
			return
		}
		// The same process once more, under a number that would be another's.
		args := append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=7 exec "$@"`, "sh"}, with("sh", "-c", show)...)
		if got, err := s.output(t, os.Environ(), args...); err != nil || got != "mine  1 unset\n" {
			t.Errorf("%v %q", err, got)
		}
	})
}

// TestRunEnvironment: the command gets the environment of contain as it is, with
// names that come twice, empty strings, and what is no variable.
func TestRunEnvironment(t *testing.T) {
	env := []string{"", "TWICE=1", "PATH=/bin:/usr/bin", "TWICE=2", "", "no variable", "=x", "EMPTY=", "GORACE=atexit_sleep_ms=0", "TWICE=1"}
	want := strings.Join(env, "\x00") + "\x00"
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		if got, err := s.output(t, env, with("/bin/cat", "/proc/self/environ")...); err != nil || got != want {
			t.Errorf("%v %q, want %q", err, got, want)
		}
	})
	t.Run("with a flag in it", func(t *testing.T) {
		s := &setting{t: t, bin: containBinary(t)}
		env := append(slices.Clone(env), "CONTAIN_BEST_EFFORT=true", "CONTAIN_OTHER=stays")
		want := want + "CONTAIN_OTHER=stays\x00"
		if got, err := s.output(t, env, s.bin, "run", "--quiet", "/bin/cat", "/proc/self/environ"); err != nil || got != want {
			t.Errorf("%v %q, want %q", err, got, want)
		}
	})
}

// TestRunClosedStreams: streams that are closed at the start are /dev/null for the
// command, which is the Go runtime's doing and a limit; plainly they stay closed.
func TestRunClosedStreams(t *testing.T) {
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		want := "/dev/null\n"
		if strings.HasSuffix(t.Name(), "/plainly") {
			want = "closed\n"
		}
		show := `ls -l /proc/self/fd/0 2>&1 | grep -o "/dev/null$" || echo closed`
		args := append([]string{"sh", "-c", `exec "$@" <&- 2>&-`, "sh"}, with("sh", "-c", show)...)
		if got, err := s.output(t, os.Environ(), args...); err != nil || got != want {
			t.Errorf("%v %q, want %q", err, got, want)
		}
	})
}

// TestRunPathUnset: a command is found where execvp(3) finds it, env(1) for one.
func TestRunPathUnset(t *testing.T) {
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		args := with("sh", "-c", `/usr/bin/env | grep "^PATH=" || echo unset`)
		if !strings.Contains(t.Name(), "plainly") {
			args = append([]string{"env"}, args...)
		} else {
			args = append([]string{"env", "-u", "PATH"}, args...)
		}
		got, err := s.output(t, []string{"GORACE=atexit_sleep_ms=0"}, args...)
		// A shell sets one for itself, and does not export it.
		if err != nil || got != "unset\n" {
			t.Errorf("%v %q", err, got)
		}
	})
}

// TestRunScriptWithoutInterpreter: the shell runs a script that names none, with its
// arguments; and not what is no text.
func TestRunScriptWithoutInterpreter(t *testing.T) {
	dir := filepath.Dir(containBinary(t))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := write("script", "echo \"$0 $*\"; exit 7\n")
	foreign := write("foreign", "\x7fELF\x02\x01\x01\x00\x00\x00")
	late := write("late", "exit 5\n\x00")
	empty := write("empty", "")
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		if strings.Contains(t.Name(), "plainly") { // env(1) does as execvp(3)
			with = func(cmd ...string) []string { return append([]string{"env"}, cmd...) }
		}
		for _, tc := range []struct {
			args []string
			code int
			says string
		}{
			{[]string{script, "a", "b c", ""}, 7, script + " a b c \n"},
			{[]string{late}, 5, ""},
			{[]string{empty}, 0, ""},
			{[]string{foreign}, launch.ExitNotExecutable, ""},
		} {
			if strings.Contains(t.Name(), "plainly") && tc.args[0] == foreign {
				continue // a shell may look for itself
			}
			a := with(tc.args...)
			cmd := s.command(a[0], a[1:]...)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != tc.code || out.String() != tc.says || tc.code != launch.ExitNotExecutable && errs.Len() > 0 {
				t.Errorf("%q: %v, %q, %s", tc.args, cmd.ProcessState, &out, &errs)
			}
			if want := fmt.Sprintf("contain: %s: exec format error\n", foreign); tc.args[0] == foreign && errs.String() != want {
				t.Errorf("%q, want %q", &errs, want)
			}
		}
	})
}
