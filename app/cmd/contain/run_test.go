package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

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
		if got := report(&stderr, exitLike(tc.result)); got != tc.want || stderr.Len() > 0 {
			t.Errorf("%+v: %d %q, want %d", tc.result, got, &stderr, tc.want)
		}
	}
	if runtime.GOOS != "windows" {
		var stderr bytes.Buffer
		if got := report(&stderr, exitLike(registry.RunResult{ExitCode: -1})); got != exitFailure || stderr.Len() == 0 {
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
		"missing interpreter":    {exec(syscall.ENOENT), exitNotFound},
		"permission":             {wrapped(exec(syscall.EACCES)), exitNotExecutable},
		"format":                 {wrapped(exec(syscall.ENOEXEC)), exitNotExecutable},
		"arguments too long":     {wrapped(exec(syscall.E2BIG)), exitNotExecutable},
		"no process":             {wrapped(exec(syscall.EAGAIN)), exitFailure},
		"a file of ours":         {wrapped(ours), exitFailure},
		"joined":                 {errors.Join(ours, exec(syscall.EACCES)), exitNotExecutable},
		"multierror":             {multierror.Append(nil, ours, wrapped(exec(syscall.EACCES))), exitNotExecutable},
		"no strategy, and a try": {&registry.NoStrategyError{Skipped: []registry.Skip{{Name: "a", Err: ours}, {Name: "b", Err: exec(syscall.ENOENT)}}}, exitNotFound},
	} {
		err := tc.err
		if cause := execFailure(err, path); cause != nil {
			err = cannotExecute("cmd", cause)
		}
		var stderr bytes.Buffer
		if got := report(&stderr, err); got != tc.code || strings.Count(stderr.String(), "\n") != 1 {
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
		if got := oneLine(errors.New(text)); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestRunOptions(t *testing.T) {
	f := runFlags{grace: time.Minute, dieWithParent: true}
	for _, given := range []bool{false, true} {
		want := registry.RunOptions{Grace: time.Minute, DieWithParent: true}
		if got := f.options(2, given); !reflect.DeepEqual(got, want) {
			t.Errorf("grace given %v: %+v", given, got)
		}
	}
	if got := f.options(1, false).Grace; got >= 0 {
		t.Errorf("PID 1: grace %v, want none", got)
	}
	if got := f.options(1, true).Grace; got != time.Minute {
		t.Errorf("PID 1, given: grace %v", got)
	}
	if !f.config().OutliveParent {
		t.Error("contain run is bound to its parent twice")
	}
}

func TestWarnings(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(&warnings{w: &b})
	log.Info("contain: in force")
	if b.Len() > 0 {
		t.Errorf("an Info record was printed: %q", &b)
	}
	log.With("strategy", "noop/noop").WithGroup("g").Warn("contain: less than the tree", "why", "two\nlines", "empty", "")
	const want = `contain: warning: less than the tree strategy=noop/noop why="two\nlines" empty=""` + "\n"
	if b.String() != want {
		t.Errorf("%q, want %q", &b, want)
	}
	b.Reset()
	log = slog.New(&warnings{w: &b, verbose: true})
	log.Debug("contain: nothing")
	log.With("strategy", "a/b").Info("contain: in force", "c", "d")
	if got, want := b.String(), "contain: in force strategy=a/b c=d\n"; got != want {
		t.Errorf("verbose: %q, want %q", got, want)
	}
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	platform := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	for _, tc := range []struct {
		stamp string
		info  *debug.BuildInfo
		want  string
	}{
		{"", nil, "contain (devel)" + platform},
		{"", &debug.BuildInfo{}, "contain (devel)" + platform},
		{"", info, "contain v0.1.0 (revision abc, modified)" + platform},
		{"v9", info, "contain v9 (revision abc, modified)" + platform},
	} {
		if got := versionLine(tc.stamp, tc.info); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// TestLookPathErrors needs no strategy, so it runs where the scripts are skipped.
func TestLookPathErrors(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, want := range map[string]int{
		"":                              exitNotFound,
		"nothing":                       exitNotFound,
		"./nothing":                     exitNotFound,
		strings.Repeat("x", 5000) + "y": exitNotFound,
		"./":                            exitNotExecutable,
		os.TempDir():                    exitNotExecutable,
	} {
		_, err := lookPath(name)
		if got := report(&bytes.Buffer{}, err); got != want {
			t.Errorf("%.20q: exit code %d (%v), want %d", name, got, err, want)
		}
	}
}
