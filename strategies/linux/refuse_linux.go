package linux

import "os/exec"

// startable returns the error that exec.Cmd.Start would return at once, having
// let it close what it closes then: the pipes that cmd.StdoutPipe and its like made.
func startable(cmd *exec.Cmd) error {
	if cmd.Err != nil || cmd.Process != nil || cmd.Path == "" {
		return cmd.Start()
	}
	return nil
}

// refuseStart makes a start fail with err as exec.Cmd.Start would: nothing is started,
// and the command's pipes are closed.
func refuseStart(cmd *exec.Cmd, err error) error {
	before := cmd.Err
	cmd.Err = err
	err = cmd.Start()
	cmd.Err = before
	return err
}
