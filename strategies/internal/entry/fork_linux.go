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
	r.Mask = setMask(^uint64(0))
	pid := -1
	if ownStacks {
		pid = r.forkOntoStack()
	} else {
		r.Reset = ^uint64(0)
		if pid = fork(r.InitFlags); pid == 0 {
			r.supervise()
		}
	}
	setMask(r.Mask)
	return pid
}

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
