//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

// watcher is the one supervisor of a service under linux/cgroup: when the owner is gone
// it ends the owner's cgroup and removes it. It is outside that cgroup, and knows
// nothing of single backends: the owner ends those itself, for as long as it lives.
type watcher struct {
	fds    [2]pollFD
	end    int // of the path of the group
	len    int // of what path holds now: that, or a group below
	path   [4096]byte
	file   [4096]byte
	buf    [4096]byte
	ts     timespec
	suffix int // where in path the name of the owner's group begins
}

var theWatcher watcher

// watch is the watcher's life. It never returns.
//
//go:nosplit
//go:norace
func (h *helper) watch() {
	w := &theWatcher
	w.take(h.at(h.head.Watch))
	Raw.clear()
	Raw.outlive()
	sys(_SYS_SETSID, 0, 0, 0, 0, 0)
	// If somebody has stopped it, it wakes up to see whether the owner is gone.
	sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, _SIGCONT, 0, 0, 0)
	Raw.keep.retain(h.files[0])
	Raw.keep.retain(h.channel)
	Raw.keep.retain(h.files[3]) // the lock says that the group is in use
	Raw.keep.closeOthers(1 << 16)
	sys(_SYS_CHDIR, uintptr(unsafe.Pointer(&rootDir[0])), 0, 0, 0, 0)

	// The owner's descriptors were opened before this process started: once it says
	// ready, the owner's end cannot be missed.
	// Open already: among hundreds that fork without pause each call may be a long wait.
	kill := w.open(&killName[0], _O_WRONLY)
	tellOwner(h.channel, OpReady, 0, 0)
	h.headers.forget()
	w.fds[0] = pollFD{fd: int32(h.files[0]), events: _POLLIN}
	w.fds[1] = pollFD{fd: int32(h.channel), events: _POLLIN}
	// The owner never writes here: readable means closed.
	for poll(&w.fds[0], len(w.fds), -1, &w.ts) <= 0 {
		continue
	}
	// Before all else; what it cannot do, the rest can.
	sys(_SYS_WRITE, uintptr(kill), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)
	for !w.remove() {
		killFunc(w)
		w.awaitEmpty()
	}
	tellOwner(h.channel, OpEmpty, 0, 0)
	exit(0)
}

// take copies the group's path.
//
//go:nosplit
//go:norace
func (w *watcher) take(path uintptr) {
	for i := 0; i < len(w.path)-1; i++ {
		c := byte(0)
		if path != 0 {
			c = peek(path + uintptr(i))
		}
		if c == 0 {
			break
		}
		if c == '/' {
			w.suffix = i
		}
		w.path[i] = c
		w.end = i + 1
	}
	w.len = w.end
}

// remove removes the group and what backends made below it, depth first, and reports
// whether it is no more. It fails while a process is inside; a zombie does not count.
//
//go:nosplit
//go:norace
func (w *watcher) remove() bool {
	atFDCWD := _AT_FDCWD
	w.len = w.end
	for {
		w.path[w.len&4095] = 0
		e := sys(_SYS_UNLINKAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&w.path[0])), _AT_REMOVEDIR, 0, 0)
		gone := e == 0 || e == -_ENOENT || e == -_ENODEV
		switch {
		case gone && w.len <= w.end:
			return true
		case gone:
			w.ascend()
		case e != -_EBUSY && e != -_ENOTEMPTY || !w.descend():
			w.len = w.end
			w.path[w.len&4095] = 0
			return false
		}
	}
}

// ascend takes the last name off the path.
//
//go:nosplit
//go:norace
func (w *watcher) ascend() {
	for w.len > w.end {
		w.len--
		if w.path[w.len&4095] == '/' {
			return
		}
	}
}

// descend adds the name of a group below to the path, and reports whether there is one.
//
//go:nosplit
//go:norace
func (w *watcher) descend() bool {
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&w.path[0])), _O_RDONLY|_O_DIRECTORY|_O_CLOEXEC, 0, 0)
	if fd < 0 {
		return false
	}
	found := false
	for !found {
		n := sys(_SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), 0, 0)
		if n <= 0 {
			break
		}
		found = w.firstBelow(n)
	}
	closeFD(fd)
	return found
}

// firstBelow finds a directory in n bytes of linux_dirent64, getdents(2).
//
//go:nosplit
//go:norace
func (w *watcher) firstBelow(n int) bool {
	const (
		recordLen, kind, name = 16, 18, 19
		directory             = 4 // DT_DIR
	)
	base := uintptr(unsafe.Pointer(&w.buf[0]))
	for at := 0; at+name < n; {
		entry := base + uintptr(at)
		size := int(peek(entry+recordLen)) | int(peek(entry+recordLen+1))<<8
		length := textLen(entry + name)
		if peek(entry+kind) == directory && peek(entry+name) != '.' && w.len+length+2 < len(w.path) {
			w.path[w.len&4095] = '/'
			putText(uintptr(unsafe.Pointer(&w.path[0]))+uintptr(w.len)+1, (*byte)(unsafe.Pointer(&w.buf[(at+name)&4095])))
			w.len += length + 1
			return true
		}
		if size <= 0 {
			break
		}
		at += size
	}
	return false
}

var (
	killName   = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 'k', 'i', 'l', 'l', 0}
	freezeName = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 'f', 'r', 'e', 'e', 'z', 'e', 0}
	eventsName = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 'e', 'v', 'e', 'n', 't', 's', 0}
	procsName  = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 'p', 'r', 'o', 'c', 's', 0}
	threads    = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', '.', 't', 'h', 'r', 'e', 'a', 'd', 's', 0}
)

// open opens a file of the group that path holds now.
//
//go:nosplit
//go:norace
func (w *watcher) open(name *byte, how uintptr) int {
	if w.len+textLen(uintptr(unsafe.Pointer(name))) >= len(w.file) {
		return -_EINVAL
	}
	w.path[w.len&4095] = 0
	putText(putText(uintptr(unsafe.Pointer(&w.file[0])), &w.path[0]), name)
	atFDCWD := _AT_FDCWD
	return sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&w.file[0])), how|_O_CLOEXEC, 0, 0)
}

// write writes one character to a file of the group.
//
//go:nosplit
//go:norace
func (w *watcher) write(name *byte, c *byte) int {
	fd := w.open(name, _O_WRONLY)
	if fd < 0 {
		return fd
	}
	e := sys(_SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(c)), 1, 0, 0)
	closeFD(fd)
	return e
}

// kill sends SIGKILL to every process in the group and below, by cgroup.kill (Linux 5.14).
// Older kernels, and a group that a backend has made threaded, have it done by freezing
// and signalling: a frozen process of version 2 dies of SIGKILL at once.
//
//go:nosplit
//go:norace
func (w *watcher) kill() {
	w.len = w.end
	if w.write(&killName[0], &one[0]) >= 0 {
		return
	}
	w.write(&freezeName[0], &one[0])
	w.killBelow()
	w.len = w.end
	w.write(&freezeName[0], &zero[0])
}

// killBelow kills the members of the group and of all groups below, one by one.
//
//go:nosplit
//go:norace
func (w *watcher) killBelow() {
	w.killMembers()
	// A depth-first walk would need to remember where it was: instead each group below is
	// removed once it is empty, so that the first is another one at the next attempt.
	for w.descend() {
		w.killMembers()
	}
}

// killMembers kills the processes that the group lists.
//
//go:nosplit
//go:norace
func (w *watcher) killMembers() {
	fd := w.open(&procsName[0], _O_RDONLY)
	pid, threaded := 0, false
	for again := true; again; {
		n := sys(_SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), 0, 0)
		if n == -_EOPNOTSUPP && !threaded { // only threads are listed, the first of a process among them
			closeFD(fd)
			fd, threaded = w.open(&threads[0], _O_RDONLY), true
			continue
		}
		again = n > 0
		for i := 0; i < n && i < len(w.buf); i++ {
			c := w.buf[i]
			if c >= '0' && c <= '9' {
				pid = pid*10 + int(c-'0')
				continue
			}
			if pid > 0 {
				w.killMember(pid)
			}
			pid = 0
		}
	}
	closeFD(fd)
}

// killMember kills pid if it is a member still: a pidfd pins the process first, then
// its cgroup is asked for, so that a reused PID is not hit.
//
//go:nosplit
//go:norace
func (w *watcher) killMember(pid int) {
	fd := sys(_SYS_PIDFD_OPEN, uintptr(pid), 0, 0, 0, 0)
	if fd < 0 {
		return
	}
	if memberFunc(w, pid) {
		sys(_SYS_PIDFD_SEND_SIGNAL, uintptr(fd), _SIGKILL, 0, 0, 0)
	}
	closeFD(fd)
}

var cgroupFile = [...]byte{'/', 'c', 'g', 'r', 'o', 'u', 'p', 0}

// isMember reports whether /proc/PID/cgroup has the name of the owner's group, which
// has random digits.
//
//go:nosplit
//go:norace
func (w *watcher) isMember(pid int) bool {
	at := putText(uintptr(unsafe.Pointer(&w.file[0])), &procDir[0])
	poke(at, '/')
	putText(self.putNumber(at+1, pid), &cgroupFile[0])
	atFDCWD := _AT_FDCWD
	fd := sys(_SYS_OPENAT, uintptr(atFDCWD), uintptr(unsafe.Pointer(&w.file[0])), _O_RDONLY|_O_CLOEXEC, 0, 0)
	n := sys(_SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&w.file[0])), uintptr(len(w.file)-1), 0, 0)
	closeFD(fd)
	size := w.end - w.suffix
	for i := 0; i+size <= n; i++ {
		same := 0
		for same < size && w.file[(i+same)&4095] == w.path[(w.suffix+same)&4095] {
			same++
		}
		if same == size {
			return true
		}
	}
	return false
}

// awaitEmpty waits until no process is in the group, some time at most: before
// cgroup.kill one may have been missed. poll(2) reports changes of cgroup.events.
//
//go:nosplit
//go:norace
func (w *watcher) awaitEmpty() {
	w.len = w.end
	fd := w.open(&eventsName[0], _O_RDONLY)
	if fd < 0 {
		poll(nil, 0, retryPause, &w.ts)
		return
	}
	for until := nowMillis(&w.ts) + 1000; nowMillis(&w.ts) < until; {
		n := sys(_SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), 0, 0)
		if n <= 0 || !w.populated(n) {
			break
		}
		w.fds[0] = pollFD{fd: int32(fd), events: _POLLPRI}
		poll(&w.fds[0], 1, 100, &w.ts)
	}
	closeFD(fd)
	poll(nil, 0, 1, &w.ts) // what is in the way of the removal, such as an exiting task
}

const retryPause = 5

var populatedLine = [...]byte{'p', 'o', 'p', 'u', 'l', 'a', 't', 'e', 'd', ' ', '1'}

// populated reports whether "populated 1" is in n bytes of cgroup.events.
//
//go:nosplit
//go:norace
func (w *watcher) populated(n int) bool {
	for i := 0; i+len(populatedLine) <= n; i++ {
		same := 0
		for same < len(populatedLine) && w.buf[(i+same)&4095] == populatedLine[same] {
			same++
		}
		if same == len(populatedLine) {
			return true
		}
	}
	return false
}
