package windows

import (
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
)

// startOutside starts cmd in no job. A process that breaks away leaves its
// creator's job and those around it, up to the first that does not allow it; so
// it is looked at before it runs.
// https://learn.microsoft.com/windows/win32/procthread/nested-jobs
func startOutside(cmd *exec.Cmd, bound registry.Cleanup) (registry.Process, error) {
	op := "start " + cmd.Path + " outside of the job"
	err := startWith(cmd, windows.CREATE_SUSPENDED|windows.CREATE_BREAKAWAY_FROM_JOB)
	// This process's own job allows breakaway. Where it has none, access-denied
	// comes from the enclosing job, or from the file.
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) && bound == registry.CleanupWindowsAlreadyInJob {
		return nil, failed(op, fmt.Errorf("the job that this process was started in does not allow breakaway, or the file may not be executed; start this process outside of that job: %w: %w", errors.ErrUnsupported, err))
	}
	if err != nil {
		return nil, err // as exec.Cmd.Start reports it
	}
	b := &backend{done: make(chan struct{}), pid: cmd.Process.Pid}
	close(b.done) // nothing holds it
	err = b.holdLeader(cmd.Process)
	if err == nil {
		err = b.release()
	}
	if err != nil {
		err = errors.Join(err, abandon(cmd))
	}
	if b.leader != 0 {
		windows.CloseHandle(b.leader)
		b.leader = 0
	}
	if err != nil {
		return nil, failed(op, err)
	}
	return b, nil
}

// release lets the suspended leader run if it is in no job.
func (b *backend) release() error {
	held, err := sys.inJob(b.leader, 0)
	if err != nil {
		return fmt.Errorf("PID %d: %w", b.pid, err)
	}
	if held {
		return fmt.Errorf("a job around that of this process does not allow breakaway, so PID %d would end with that job and was ended at once; start this process outside of it: %w", b.pid, errors.ErrUnsupported)
	}
	return b.resume()
}
