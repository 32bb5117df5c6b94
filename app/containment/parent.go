package containment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/seed329817d7/contain/registry"
)

// ParentOptions are the choices of [DieWithParent]. The zero value is the default.
type ParentOptions struct {
	// Signal is what this process sends to itself when its parent has ended; nil means SIGTERM, which
	// ends a program that does not catch it. Windows has no signals: there the process is
	// terminated with exit code 1, and Signal must be nil.
	Signal os.Signal
	// OnExit, if not nil, is called in place of the signal, in a goroutine of its own.
	OnExit func()
}

// DieWithParent ends this process when its parent ends, however that ends: for a program that
// others start, such as an MCP or a language server, a plugin or a worker. It needs no
// strategy and changes nothing else. [Config].DieWithParent does the same for a service
// with backends.
//
// The parent is the process that had started this one when this one began. It is watched by a
// pidfd on Linux (pidfd_open(2), Linux 5.3; before, getppid(2) is asked five times a second), by
// kevent(2) on macOS and the BSDs, and by a handle on Windows: never by a number that may be
// another's. A thread's exit means nothing (as it does to PR_SET_PDEATHSIG), nor does a
// debugger that attaches. If the parent has ended already it is as if it ended now, but for one
// that had ended before this process's first instruction, of which nobody knows.
//
// It returns once the parent is watched. The watch lasts until ctx is done. Where the
// parent cannot be watched (it is in another PID namespace, as that of a container's first
// process is; js/wasm) the error wraps errors.ErrUnsupported. While this process is stopped it
// does not end.
func DieWithParent(ctx context.Context, opts ParentOptions) error {
	fail := func(err error) error { return &registry.Error{Op: "die with the parent", Err: err} }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	end, err := opts.end()
	if err != nil {
		return fail(err)
	}
	gone, err := parentGone(true, ctx.Done())
	if err != nil {
		return fail(err)
	}
	if gone == nil {
		return fail(fmt.Errorf("there is no parent process here that could be watched on %s (that of a container's first process is outside): %w", runtime.GOOS, errors.ErrUnsupported))
	}
	go endAfter(ctx, gone, end)
	return nil
}

// endAfter calls end when gone is closed, unless ctx is done by then.
func endAfter(ctx context.Context, gone <-chan struct{}, end func()) {
	select {
	case <-gone:
		if ctx.Err() == nil { // else both were seen at once
			end()
		}
	case <-ctx.Done():
	}
}

// end returns what to do when the parent has ended.
func (o ParentOptions) end() (func(), error) {
	if o.OnExit == nil {
		return endSelf(o.Signal)
	}
	if o.Signal != nil {
		return nil, errors.New("ParentOptions.Signal and OnExit contradict each other; set one")
	}
	return o.OnExit, nil
}
