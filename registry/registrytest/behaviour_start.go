package registrytest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"reflect"

	"github.com/seed329817d7/contain/registry"
)

func isNoLauncher(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = t.in.Start(b.cmd, registry.StartOptions{}); err != nil {
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
	b.cmd.Env, b.cmd.Dir = os.Environ(), os.TempDir()
	before := *b.cmd
	if b.Process, err = t.in.Start(b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	for field, pair := range map[string][2]any{
		"Path": {before.Path, b.cmd.Path}, "Args": {before.Args, b.cmd.Args}, "Env": {before.Env, b.cmd.Env}, "Dir": {before.Dir, b.cmd.Dir},
		"Stdin": {before.Stdin, b.cmd.Stdin}, "Stdout": {before.Stdout, b.cmd.Stdout}, "Stderr": {before.Stderr, b.cmd.Stderr},
		"ExtraFiles": {before.ExtraFiles, b.cmd.ExtraFiles}, "SysProcAttr": {before.SysProcAttr, b.cmd.SysProcAttr}, "Err": {before.Err, b.cmd.Err},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			return fmt.Errorf("%s is %v, was %v", field, pair[1], pair[0])
		}
	}
	b.let()
	if b.cmd.Process == nil {
		return errors.New("cmd.Process is nil")
	}
	if _, err := t.in.Start(b.cmd, registry.StartOptions{}); err == nil {
		return errors.New("it can be started again")
	}
	return nil
}

func missesProgram(t *trial) error {
	cmd := exec.Command(self() + "-that-is-not-there")
	p, err := t.in.Start(cmd, registry.StartOptions{})
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
	b.Process, err = t.in.Start(b.cmd, registry.StartOptions{Breakaway: true})
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

func wraps(t *trial) error {
	w, ok := t.in.(registry.Wrapper)
	if !ok {
		return nil
	}
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = w.Wrap(b.cmd, registry.StartOptions{}); errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
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
	never, err := t.command("plain")
	if err != nil {
		return err
	}
	if _, err := w.Wrap(never.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	if err := t.close(patience); err != nil {
		return fmt.Errorf("Close, with a command that was wrapped and never started: %w", err)
	}
	if never.cmd.Start() == nil {
		never.let()
		if line, err := never.line(); err != nil || line != "" {
			return fmt.Errorf("a command that was wrapped runs after Close: it said %q, %w", line, err)
		}
	}
	return nil
}
