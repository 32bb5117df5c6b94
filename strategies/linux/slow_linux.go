package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// shakeFirst is shake with a process that has not shown yet that it is a
// supervisor. If it fails the process is gone, and the error wraps
// errors.ErrUnsupported only if no supervisor can be had here: the process said so,
// or ended of its own accord. One that is slow, or that somebody killed, says nothing
// about that.
func (h *handshake) shakeFirst(ctx context.Context, cmd *exec.Cmd) error {
	watched, stop := untilSilent(ctx, cmd.Process.Pid)
	defer stop()
	_, err := h.shake(watched)
	if err == nil {
		return nil
	}
	patience := time.Duration(0)
	if errors.Is(err, io.ErrUnexpectedEOF) && watched.Err() == nil { // then it is ending
		patience = silence
	}
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	byItself := kill.Stop()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case watched.Err() != nil:
		return err
	case byItself && status.Signaled() && status.Signal() != unix.SIGSYS: // which is what seccomp(2) sends
		return fmt.Errorf("%w (it died of %v)", err, status.Signal())
	}
	return refusal(err)
}

// refusal marks err as a reason why there can be no supervisor here, unless it is a
// lack that passes.
func refusal(err error) error {
	for _, passes := range []error{unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, passes) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
}

// silence is how long, on the processor or asleep, a process may say nothing
// before it is taken for something other than a supervisor.
var silence = 10 * time.Second

// errSilent is about an executable that was to be a supervisor and does something else.
var errSilent = fmt.Errorf("%w: it runs and says nothing; perhaps the executable is not a contain supervisor", registry.ErrSupervisor)

// untilSilent returns a context that ends with ctx, and with errSilent if the process
// could have spoken and did not. A clock alone cannot tell: on a busy host a process
// waits for its first turn for longer than any limit. So it is silent once it and
// all below it have been found asleep each time for that long, or have had that much
// of the processor. Waiting for the processor, for a page from disk, or for SIGCONT
// is not sleep.
func untilSilent(ctx context.Context, pid int) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := silence
	go func() {
		const looks = 20
		tick := time.NewTicker(limit / looks)
		defer tick.Stop()
		for slept := 0; slept < looks; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			asleep, used := activity(pid)
			if slept++; !asleep {
				slept = 0
			}
			if used >= limit {
				break
			}
		}
		cancel(errSilent)
	}()
	return ctx, func() { cancel(nil) }
}

// activity reports whether a process and all that descend from it are asleep, and
// how much processor time they have used. What cannot be read is not asleep.
func activity(pid int) (asleep bool, used time.Duration) {
	below, err := proctree.Descendants(pid)
	asleep = err == nil
	for _, p := range append(below, proctree.Process{PID: pid}) {
		threads, err := filepath.Glob("/proc/" + strconv.Itoa(p.PID) + "/task/*/stat")
		asleep = asleep && err == nil && len(threads) > 0
		for _, stat := range threads {
			state, time := threadActivity(stat)
			asleep = asleep && state == "S"
			used += time
		}
	}
	return asleep, used
}

// threadActivity reads state, utime and stime of proc_pid_stat(5).
func threadActivity(stat string) (state string, used time.Duration) {
	b, err := os.ReadFile(stat)
	if err != nil {
		return "", 0
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // from the third on
	if len(fields) < 13 {
		return "", 0
	}
	const tick = time.Second / 100 // USER_HZ, which is 100 on every architecture that Go has
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(f, 10, 64)
		used += time.Duration(n) * tick
	}
	return fields[0], used
}

// contextEnded returns the error of the context that a command was made with, if
// that has ended. A package cannot get at it; exec.Cmd.Start says it, of a copy
// from before the start that cannot go further, because of its environment.
func contextEnded(before *exec.Cmd) error {
	before.Stdin, before.Stdout, before.Stderr, before.ExtraFiles = nil, nil, nil, nil
	before.Env = []string{"\x00="}
	if err := before.Start(); errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
