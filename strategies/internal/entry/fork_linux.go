package entry

// OwnStacks: the supervisor and the leader have stacks of their own on this architecture.
const OwnStacks = ownStacks

// Fork makes the supervisor, as a fork of a process with a Go runtime: contain run. It
// blocks every signal of this thread, so that none of Go's handlers can run in the
// child, which never returns here. Nothing in here can move this goroutine to another thread.
//
//go:nosplit
//go:norace
func (r *Supervisor) Fork() int {
	own := setMask(^uint64(0))
	inheritedMask |= own
	r.Mask = inheritedMask
	pid := -1
	if ownStacks {
		pid = r.forkOntoStack()
	} else {
		r.Reset = ^uint64(0)
		if pid = fork(r.InitFlags); pid == 0 {
			r.supervise()
		}
	}
	setMask(own)
	return pid
}

// inheritedMask is what this process was executed with as blocked, as far as the Go
// runtime has left it: it unblocks what ends a program. A later Fork in the same
// process may find less, see SetMask.
var inheritedMask uint64

// SetMask sets the signals that this thread blocks, bit n-1 for signal n.
func SetMask(mask uint64) { setMask(mask) }

// Sigaction is the kernel's struct sigaction.
type Sigaction = kernelSigaction

// HandlerOf returns the handler of a signal: 0 for the default action, 1 for none.
func HandlerOf(sig int) uintptr {
	var act kernelSigaction
	return disposition(sig, &act)
}

// SetHandler sets the handler of a signal, without a flag.
func SetHandler(sig int, handler uintptr) {
	var act kernelSigaction
	setDisposition(sig, handler, &act)
}
