package entry

// kept are the descriptors that a process keeps, ascending. All others belong to the
// backend: once they are closed it alone holds them, so its end of a pipe is the end of the
// pipe.
type kept struct {
	fds [12]int
	n   int
}

// retain puts fd in its place among them. It reports whether there was room for it.
//
//go:nosplit
//go:norace
func (k *kept) retain(fd int) bool {
	if fd < 0 {
		return true
	}
	if k.n >= len(k.fds) {
		return false
	}
	i := k.n
	for ; i > 0 && i < len(k.fds) && k.fds[i-1] > fd; i-- {
		k.fds[i] = k.fds[i-1]
	}
	if i < len(k.fds) {
		k.fds[i] = fd
	}
	k.n++
	return true
}

// closeOthers closes all others up to most.
//
//go:nosplit
//go:norace
func (k *kept) closeOthers(most int) {
	low := 0
	for i := 0; i < k.n && i < len(k.fds); i++ {
		closeRange(low, k.fds[i]-1)
		low = k.fds[i] + 1
	}
	closeRange(low, most)
}

// Retain has the supervisor keep fd. It reports whether there was room for it.
func (r *Supervisor) Retain(fd int) bool { return r.keep.retain(fd) }

//go:nosplit
//go:norace
func closeRange(low, high int) {
	if low > high {
		return
	}
	if sys(_SYS_CLOSE_RANGE, uintptr(low), uintptr(high), 0, 0, 0) == 0 { // Linux 5.9
		return
	}
	for fd := low; fd <= high; fd++ {
		closeFD(fd)
	}
}
