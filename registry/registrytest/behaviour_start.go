package registrytest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"

	"github.com/seed329817d7/contain/registry"
)

func isNoLauncher(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	b.let()
	line, err := b.line()
	if err != nil || line != "ready "+backendArgv0 {
		return fmt.Errorf("it said %q, %w; a strategy that starts backends through another program cannot be tested by this kit", line, err)
	}
	return nil
}

func givesCommandBack(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	before := *b.cmd
	if b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	for stream, pair := range map[string][2]any{
		"Stdin": {before.Stdin, b.cmd.Stdin}, "Stdout": {before.Stdout, b.cmd.Stdout}, "Stderr": {before.Stderr, b.cmd.Stderr},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			return fmt.Errorf("%s is %v, was %v", stream, pair[1], pair[0])
		}
	}
	b.let()
	if b.cmd.Process == nil {
		return errors.New("cmd.Process is nil")
	}
	if _, err := registry.Start(t.in, b.cmd, registry.StartOptions{}); err == nil {
		return errors.New("it can be started again")
	}
	return nil
}

func leavesNothing(t *trial) error {
	for _, closed := range []bool{false, true} {
		b, err := t.command("plain")
		if err != nil {
			return err
		}
		if closed {
			if err := t.close(patience); err != nil {
				return err
			}
		} else {
			b.cmd.Path += "-that-is-not-there"
		}
		if p, err := registry.Start(t.in, b.cmd, registry.StartOptions{}); err == nil || p != nil || b.cmd.Process != nil {
			return fmt.Errorf("closed: %v: Start returned %v, %v; cmd.Process is %v", closed, p, err, b.cmd.Process)
		}
		b.let()
		if line, err := b.line(); err != nil || line != "" {
			return fmt.Errorf("closed: %v: the command's output is held: %q, %w", closed, line, err)
		}
	}
	return nil
}

func missesProgram(t *trial) error {
	missing := self() + "-that-is-not-there"
	cmd := &exec.Cmd{Path: missing, Args: []string{missing}} // which exec.Command would have looked for on Windows
	p, err := registry.Start(t.in, cmd, registry.StartOptions{})
	if p != nil || cmd.Process != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) { // which Windows says
		return fmt.Errorf("Start: %v, %v; cmd.Process is %v", p, err, cmd.Process)
	}
	return nil
}

func breaksAway(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{Breakaway: true})
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		return nil
	}
	b.let()
	if !b.done() {
		return errors.New("it is a backend")
	}
	if err := t.close(patience); err != nil {
		return err
	}
	_ = b.leash.Close()
	var exit *exec.ExitError
	if err := b.over(); !errors.As(err, &exit) || exit.ExitCode() != backendCode {
		return fmt.Errorf("after Close: %v, want that it lives on", err)
	}
	return nil
}

// wrapped wraps a command of a trial. There is none, and maybe no error, if the strategy cannot.
func (t *trial) wrapped(what string) (registry.Wrapper, *contained, error) {
	w, ok := t.in.(registry.Wrapper)
	if !ok {
		return nil, nil, nil
	}
	b, err := t.command(what)
	if err != nil {
		return nil, nil, err
	}
	if b.Process, err = w.Wrap(b.cmd, registry.StartOptions{}); errors.Is(err, errors.ErrUnsupported) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	return w, b, nil
}

func wraps(t *trial) error {
	w, b, err := t.wrapped("plain")
	if b == nil {
		return err
	}
	if b.PID() != 0 || b.done() {
		return fmt.Errorf("before the start the PID is %d, done: %v", b.PID(), b.done())
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	b.let()
	if line, err := b.line(); err != nil || line != "ready "+backendArgv0 {
		return fmt.Errorf("it said %q, %w", line, err)
	}
	if err := b.Kill(); err != nil {
		return err
	}
	_ = b.over()
	if err := b.gone(); err != nil {
		return err
	}
	killed, err := t.command("plain")
	if err != nil {
		return err
	}
	if killed.Process, err = w.Wrap(killed.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	if err := killed.Kill(); err != nil {
		return fmt.Errorf("Kill before the start: %w", err)
	}
	if err := killed.runsNot(); err != nil {
		return fmt.Errorf("after Kill: %w", err)
	}
	never, err := t.command("plain")
	if err != nil {
		return err
	}
	if never.Process, err = w.Wrap(never.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	if err := t.close(patience); err != nil {
		return fmt.Errorf("Close, with a command that was wrapped and never started: %w", err)
	}
	if !killed.done() || !never.done() {
		return fmt.Errorf("after Close, Done of one that was killed before its start is closed: %v, of one that was never started: %v", killed.done(), never.done())
	}
	if err := never.runsNot(); err != nil {
		return fmt.Errorf("after Close: %w", err)
	}
	return nil
}

// runsNot starts a wrapped command, which must not run.
func (b *contained) runsNot() error {
	if b.cmd.Start() != nil {
		return nil
	}
	b.let()
	if line, err := b.line(); err != nil || line != "" {
		return fmt.Errorf("a command that was wrapped runs: it said %q, %w", line, err)
	}
	return nil
}

func heedsChanges(t *trial) error {
	w, b, err := t.wrapped("report")
	if b == nil {
		return err
	}
	if err := b.contained(false); err != nil {
		return err
	}
	b.cmd.Args = append(b.cmd.Args, "more")
	b.cmd.Env = append(b.cmd.Environ(), backendEnv+"=set")
	b.cmd.Dir = os.TempDir()
	again := &exec.Cmd{Path: b.cmd.Path, Args: b.cmd.Args, Env: b.cmd.Env, Stdin: b.cmd.Stdin, Stdout: b.cmd.Stdout}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	line, err := b.line()
	words := strings.SplitN(line, " ", 4)
	if err != nil || len(words) != 4 || !slices.Equal(words[:3], []string{"report", "more", "set"}) || !sameFile(words[3], os.TempDir()) {
		return fmt.Errorf("it said %q, %w", line, err)
	}
	if err := b.over(); b.cmd.ProcessState.ExitCode() != backendCode {
		return fmt.Errorf("cmd.Wait: %w", err)
	}
	if err := b.contained(true); err != nil {
		return err
	}
	if again.Start() == nil {
		_ = again.Wait()
	}
	b.let()
	if line, err := b.line(); err != nil || line != "" {
		return fmt.Errorf("started once more it said %q, %w", line, err)
	}
	return t.notContained(w)
}

// notContained replaces the Path that contains a wrapped command.
func (t *trial) notContained(w registry.Wrapper) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = w.Wrap(b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	b.cmd.Path = self()
	if err := b.cmd.Start(); err != nil {
		return err
	}
	_ = b.leash.Close()
	if err := b.contained(false); err != nil {
		return fmt.Errorf("with another Path: %w", err)
	}
	_ = b.over()
	return nil
}

// contained compares what Contained says, where it says something.
func (b *contained) contained(want bool) error {
	w, ok := b.Process.(registry.Wrapped)
	if !ok {
		return nil
	}
	if err := w.Contained(); (err == nil) != want {
		return fmt.Errorf("the answer of Contained is %v, want nil: %v", err, want)
	}
	settled := false
	select {
	case <-w.Settled():
		settled = true
	default:
	}
	if w.Started() != want || want && !settled {
		return fmt.Errorf("Started: %v, want %v; Settled is closed: %v", w.Started(), want, settled)
	}
	return nil
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}
