package containment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/seed329817d7/contain/registry"
)

// Run starts cmd as [Containment.Start] does and waits for it, in place of cmd.Run: the
// error is that of cmd.Wait, but for a command whose status that does not have, see
// [Backend.ExitState]: then it is nil if the exit code is 0, or an [*ExitError]. When it returns, nothing is left of the command, unless
// OnLeaderExit said so or the strategy reaches the first process only; if something
// that was to end cannot be ended, the error wraps ErrLeft.
//
// It does not wait for ever because a process that the command left behind holds its
// output: such a process is ended, or else the output is no longer read
// registry.SupervisorKillDeadline after the command's end, and the error is
// exec.ErrWaitDelay. A cmd.WaitDelay that is set is used as it is.
func (c *Containment) Run(cmd *exec.Cmd, opts ...StartOption) error {
	unset := cmd != nil && cmd.WaitDelay == 0
	if unset { // before the start: from then on os/exec reads it at any time
		cmd.WaitDelay = registry.SupervisorKillDeadline
	}
	b, err := c.Start(cmd, opts...)
	if err != nil {
		if unset {
			cmd.WaitDelay = 0
		}
		return err
	}
	return b.wait(cmd)
}

// Output is Run and returns what the command has written to its standard output, in
// place of cmd.Output. If cmd.Stderr is nil, the *exec.ExitError has the beginning and
// the end of what it has written to its standard error.
func (c *Containment) Output(cmd *exec.Cmd, opts ...StartOption) ([]byte, error) {
	if cmd != nil && cmd.Stdout != nil {
		return nil, registry.Refuse(cmd, errors.New("exec: Stdout already set"))
	}
	var out bytes.Buffer
	var problem *excerpt
	if cmd != nil {
		cmd.Stdout = &out
		if cmd.Stderr == nil {
			problem = new(excerpt)
			cmd.Stderr = problem
		}
	}
	err := c.Run(cmd, opts...)
	var exit *exec.ExitError
	if problem != nil && errors.As(err, &exit) {
		exit.Stderr = problem.bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput is Run and returns what the command has written to its standard output
// and error, in place of cmd.CombinedOutput.
func (c *Containment) CombinedOutput(cmd *exec.Cmd, opts ...StartOption) ([]byte, error) {
	if cmd != nil && cmd.Stdout != nil {
		return nil, registry.Refuse(cmd, errors.New("exec: Stdout already set"))
	}
	if cmd != nil && cmd.Stderr != nil {
		return nil, registry.Refuse(cmd, errors.New("exec: Stderr already set"))
	}
	var out bytes.Buffer
	if cmd != nil {
		cmd.Stdout, cmd.Stderr = &out, &out
	}
	err := c.Run(cmd, opts...)
	return out.Bytes(), err
}

// wait waits for cmd, and then for what it left behind, if that is to end with it.
func (b *Backend) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	if !b.endsWithLeader {
		return b.leadersOwn(err)
	}
	if !waitFor(context.Background(), b.Done(), b.grace+2*registry.SupervisorKillDeadline) {
		left, membersErr := b.proc.Members()
		return compose(err, &registry.Error{
			Op:       fmt.Sprintf("run %s (pid %d)", filepath.Base(b.path), b.PID()),
			Strategy: b.strategy,
			Err:      compose(fmt.Errorf("%w: %s", ErrLeft, memberList(left)), membersErr),
		})
	}
	return b.leadersOwn(err)
}

// leadersOwn returns err unless that is about the end of cmd.Process, and the leader
// ended otherwise.
func (b *Backend) leadersOwn(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), registry.SupervisorKillDeadline)
	defer cancel()
	state, unknown := b.exitState(ctx)
	if unknown != nil || state == stateOf(exit.ProcessState) {
		return err
	}
	if state == (registry.ExitState{}) {
		return nil
	}
	return &ExitError{State: state, err: exit}
}

// An ExitError is what [Containment.Run] returns of a command that failed, where the
// *exec.ExitError that it wraps has the status of cmd.Process, which was killed after
// the command had ended.
type ExitError struct {
	State registry.ExitState // the command's own
	err   *exec.ExitError
}

// Error returns "exit status N" or "signal N".
func (e *ExitError) Error() string { return e.State.String() }

// Unwrap returns the error of cmd.Wait.
func (e *ExitError) Unwrap() error { return e.err }

// excerpt keeps the beginning and the end of what is written to it.
type excerpt struct {
	head, tail []byte
	omitted    int64
}

// excerptPart is the length of each of the two.
const excerptPart = 32 << 10

// Write implements io.Writer.
func (e *excerpt) Write(p []byte) (int, error) {
	n := len(p)
	fits := min(len(p), excerptPart-len(e.head))
	e.head = append(e.head, p[:fits]...)
	e.tail = append(e.tail, p[fits:]...)
	if over := len(e.tail) - excerptPart; over > 0 {
		e.tail = append(e.tail[:0], e.tail[over:]...)
		e.omitted += int64(over)
	}
	return n, nil
}

func (e *excerpt) bytes() []byte {
	if e.omitted == 0 {
		return append(e.head, e.tail...)
	}
	return fmt.Appendf(e.head, "\n... %d bytes are not shown ...\n%s", e.omitted, e.tail)
}
