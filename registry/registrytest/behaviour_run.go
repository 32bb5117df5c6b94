package registrytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/seed329817d7/contain/registry"
)

// runReport is what a process that has called Run writes into a file, for its streams
// are the command's.
type runReport struct {
	ExitCode, Signal, Started int
	Missing                   bool // the error says that the program is not there
	Unsupported               bool
	Err                       string
}

const modeMissing = "missing"

// playRunner runs a command of that mode under the strategy of that name.
func playRunner(own []registry.Strategy, name, mode, file string) {
	r, err := runReport{ExitCode: -1}, error(nil)
	var s registry.Strategy
	for _, o := range own {
		if o.Describe().Name == name {
			s = o
		}
	}
	if s == nil {
		s, err = registry.Default().Lookup(name)
	}
	if err == nil {
		r, err = runOnce(s, mode)
	}
	if err != nil {
		r.Err = err.Error()
	}
	r.Missing = errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound)
	r.Unsupported = errors.Is(err, errors.ErrUnsupported)
	text, _ := json.Marshal(r)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func runOnce(s registry.Strategy, mode string) (r runReport, err error) {
	runner, ok := s.(registry.Runner)
	if !ok {
		return r, errors.New("it is no Runner in this process")
	}
	cmd := exec.Command(self())
	if mode == modeMissing {
		cmd.Path += "-that-is-not-there"
	}
	cmd.Args = []string{backendArgv0, backendMark, mode}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	result, err := runner.Run(context.Background(), cmd, registry.RunOptions{Grace: -1, Started: func() { r.Started++ }})
	r.ExitCode, r.Signal = result.ExitCode, result.Signal
	return r, err
}

func runs(t *trial) error {
	if _, ok := t.s.(registry.Runner); !ok {
		return nil
	}
	killed := runReport{ExitCode: -1, Signal: int(syscall.SIGKILL), Started: 1}
	if runtime.GOOS == "windows" { // it has no signals; os.Process.Kill gives this code
		killed = runReport{ExitCode: 1, Started: 1}
	}
	for _, c := range []struct {
		mode, what string
		then       func(*contained) error
		want       runReport
	}{
		{"plain", "the command exits", func(b *contained) error { return b.leash.Close() }, runReport{ExitCode: backendCode, Started: 1}},
		{modeMissing, "the program is not there", nil, runReport{ExitCode: -1, Missing: true}},
		{"suicide", "the command is killed", nil, killed},
		{"plain", "SIGTERM comes", terminate, runReport{ExitCode: -1, Signal: int(syscall.SIGTERM), Started: 1}},
		{"family", "the leader leaves a process", nil, runReport{ExitCode: backendCode, Started: 1}},
	} {
		if c.what == "SIGTERM comes" && runtime.GOOS == "windows" {
			continue
		}
		b, got, err := t.runs(c.mode, c.then)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		if got.Unsupported && got.Started == 0 {
			return nil
		}
		if got.Missing { // the error says it all: the code may be 0 or -1
			got.Err, got.ExitCode = "", -1
		}
		if got != c.want {
			return fmt.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
		if g, _ := t.s.Describe().Guarantee(registry.EventLeaderExit); c.mode == "family" && g.Reach == registry.ReachTree {
			if err := b.silent(); err != nil {
				return fmt.Errorf("%s: after Run: %w", c.what, err)
			}
		}
	}
	return nil
}

// terminate waits until the command is ready: before, it is Run that gets the signal.
func terminate(b *contained) error {
	if line, err := b.line(); err != nil || !strings.HasPrefix(line, "ready ") {
		return fmt.Errorf("the command said %q, %w", line, err)
	}
	return b.cmd.Process.Signal(syscall.SIGTERM)
}

// runs has a process of its own call Run, and returns what that reports.
func (t *trial) runs(mode string, then func(*contained) error) (*contained, runReport, error) {
	var r runReport
	dir, err := os.MkdirTemp("", "contain-registrytest-")
	if err != nil {
		return nil, r, err
	}
	t.cleanup = append(t.cleanup, func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "report.json")
	b, err := t.command("run")
	if err != nil {
		return nil, r, err
	}
	b.cmd.Args = append(b.cmd.Args, t.s.Describe().Name, mode, file)
	if err := b.cmd.Start(); err != nil {
		return nil, r, err
	}
	b.let()
	if then != nil {
		if err := then(b); err != nil {
			return nil, r, err
		}
	}
	if err := b.over(); err != nil {
		return nil, r, fmt.Errorf("the process that calls Run: %w", err)
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return b, r, err
}
