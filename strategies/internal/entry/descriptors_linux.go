package entry

// closeAllButKept closes what belongs to the backend: from here on it alone
// holds its descriptors, so its end of a pipe is the end of the pipe.
//
//go:nosplit
//go:norace
func (r *Supervisor) closeAllButKept() {
	if r.supervisorPidfd > r.MaxFD {
		r.MaxFD = r.supervisorPidfd
	}
	low := 0
	for i := 0; i < r.nkeep && i < len(r.keep); i++ {
		r.closeRange(low, r.keep[i]-1)
		low = r.keep[i] + 1
	}
	r.closeRange(low, r.MaxFD)
}

// Retain puts fd in its place among the descriptors that the supervisor keeps. It
// reports whether there was room for it.
//
//go:nosplit
//go:norace
func (r *Supervisor) Retain(fd int) bool {
	if fd < 0 {
		return true
	}
	if r.nkeep >= len(r.keep) {
		return false
	}
	i := r.nkeep
	for ; i > 0 && i < len(r.keep) && r.keep[i-1] > fd; i-- {
		r.keep[i] = r.keep[i-1]
	}
	if i < len(r.keep) {
		r.keep[i] = fd
	}
	r.nkeep++
	if fd > r.MaxFD {
		r.MaxFD = fd
	}
	return true
}

//go:nosplit
//go:norace
func (r *Supervisor) closeRange(low, high int) {
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
