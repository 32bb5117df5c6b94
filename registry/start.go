package registry

import (
	"errors"
	"os/exec"
)

// Start starts cmd under in. It is where the contract of [exec.Cmd.Start] is kept, once
// and for every strategy: a command that could not be started plainly is refused with the
// error of os/exec; a start that fails closes the pipes that cmd.StdoutPipe and its like
// have made; and but for what os/exec itself sets, cmd is then as it was.
func Start(in Installation, cmd *exec.Cmd, opts StartOptions) (Process, error) {
	if err := Startable(cmd); err != nil {
		return nil, Refuse(cmd, err)
	}
	before := *cmd
	p, err := in.Start(cmd, opts)
	cmd.Path, cmd.Args, cmd.Dir, cmd.Env = before.Path, before.Args, before.Dir, before.Env
	cmd.ExtraFiles, cmd.SysProcAttr, cmd.Err = before.ExtraFiles, before.SysProcAttr, before.Err
	if err != nil {
		_ = Refuse(cmd, err)
		return nil, err
	}
	return p, nil
}

// Startable returns the error with which cmd.Start would begin, nil if it would go on to
// look for the program.
func Startable(cmd *exec.Cmd) error {
	switch {
	case cmd == nil:
		return errors.New("the command is nil")
	case cmd.Process != nil:
		return errors.New("exec: already started")
	case cmd.Err != nil:
		return cmd.Err
	case cmd.Path == "":
		return errors.New("exec: no command")
	}
	return nil
}

// Refuse makes cmd.Start fail with err and returns that, or what cmd.Start says if it has
// been called before: as after any start that fails, the pipes that cmd.StdoutPipe and
// its like have made are closed, and cmd cannot be started again. A strategy calls it
// for what it refuses before it calls cmd.Start. A command that runs keeps its pipes.
func Refuse(cmd *exec.Cmd, err error) error {
	if cmd == nil || cmd.Process != nil {
		return err
	}
	before := cmd.Err
	cmd.Err = err
	err = cmd.Start() // fails with cmd.Err before it does anything else
	cmd.Err = before
	return err
}
