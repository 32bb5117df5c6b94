package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-multierror"

	"github.com/seed329817d7/contain/registry"
)

func TestExitLike(t *testing.T) {
	for _, tc := range []struct {
		result registry.RunResult
		want   int
		print  bool
	}{
		{registry.RunResult{}, 0, false},
		{registry.RunResult{ExitCode: 7}, 7, false},
		{registry.RunResult{ExitCode: -1, Signal: 9}, 137, false},
		{registry.RunResult{ExitCode: 70000}, 70000, false}, // Windows has 32 bits
	} {
		var stderr bytes.Buffer
		if got := Report(&stderr, ExitLike(tc.result)); got != tc.want || stderr.Len() > 0 {
			t.Errorf("%+v: %d %q, want %d", tc.result, got, &stderr, tc.want)
		}
	}
	if runtime.GOOS != "windows" {
		var stderr bytes.Buffer
		if got := Report(&stderr, ExitLike(registry.RunResult{ExitCode: -1})); got != ExitFailure || stderr.Len() == 0 {
			t.Errorf("no status at all: %d %q", got, &stderr)
		}
	}
}

// TestExecFailure: only an error about the command's own file is about the command.
func TestExecFailure(t *testing.T) {
	const path = "/opt/cmd"
	exec := func(err error) error { return &fs.PathError{Op: "fork/exec", Path: path, Err: err} }
	ours := &fs.PathError{Op: "open", Path: "/proc/self/exe", Err: syscall.ENOENT}
	wrapped := func(err error) error {
		return &registry.Error{Op: "start", Strategy: "linux/subreaper", Err: fmt.Errorf("start: %w", err)}
	}
	for name, tc := range map[string]struct {
		err  error
		code int
	}{
		"missing interpreter":    {exec(syscall.ENOENT), ExitNotFound},
		"permission":             {wrapped(exec(syscall.EACCES)), ExitNotExecutable},
		"format":                 {wrapped(exec(syscall.ENOEXEC)), ExitNotExecutable},
		"arguments too long":     {wrapped(exec(syscall.E2BIG)), ExitNotExecutable},
		"no process":             {wrapped(exec(syscall.EAGAIN)), ExitFailure},
		"a file of ours":         {wrapped(ours), ExitFailure},
		"joined":                 {errors.Join(ours, exec(syscall.EACCES)), ExitNotExecutable},
		"multierror":             {multierror.Append(nil, ours, wrapped(exec(syscall.EACCES))), ExitNotExecutable},
		"no strategy, and a try": {&registry.NoStrategyError{Skipped: []registry.Skip{{Name: "a", Err: ours}, {Name: "b", Err: exec(syscall.ENOENT)}}}, ExitNotFound},
	} {
		err := tc.err
		if cause := execFailure(err, path); cause != nil {
			err = cannotExecute("cmd", cause)
		}
		var stderr bytes.Buffer
		if got := Report(&stderr, err); got != tc.code || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want %d", name, got, &stderr, tc.code)
		}
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                       "plain",
		"contain: a/b: start: why":    "a/b: start: why",
		"two\nlines\n":                "two; lines",
		"\x1b[31mcontrol characters":  "?[31mcontrol characters",
		"contain: 1 error:\n\t* this": "1 error:; ?* this",
	} {
		if got := OneLine(errors.New(text)); got != want {
			t.Errorf("OneLine(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestLookPathErrors needs no strategy, so it runs where the scripts are skipped.
func TestLookPathErrors(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, want := range map[string]int{
		"":                              ExitNotFound,
		"nothing":                       ExitNotFound,
		"./nothing":                     ExitNotFound,
		strings.Repeat("x", 5000) + "y": ExitNotFound,
		"./":                            ExitNotExecutable,
		os.TempDir():                    ExitNotExecutable,
	} {
		_, err := lookPath(name)
		if got := Report(&bytes.Buffer{}, err); got != want {
			t.Errorf("%.20q: exit code %d (%v), want %d", name, got, err, want)
		}
	}
}
