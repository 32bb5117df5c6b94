//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

const (
	numBlockFiles = int(FileProcs) + 1
	// maxBlock bounds Size. Arguments and environment are bounded far below, execve(2).
	maxBlock = 64 << 20
)

// helper is what a helper process knows of itself and its owner.
type helper struct {
	way        Way
	argv, envp uintptr
	execfn     uintptr
	headers    programHeaders
	secure     bool
	mask       uint64 // signals that were blocked
	// Go's memory, which nobody needs any more.
	goMemory, goMemorySize uintptr
	wrapped                bool
	channel                int
	head                   Block
	block                  uintptr // where head and rest are
	files                  [numBlockFiles]int
	number                 [24]byte // room for text
	cred                   ucred
	message                messageHeader
	vector                 [2]ioVector
	control                [64]byte
	rights                 rights
	address                socketAddress
}

var self helper

// ucred is struct ucred, unix(7).
type ucred struct {
	pid      int32
	uid, gid uint32
}

// messageHeader is struct msghdr, recvmsg(2).
type messageHeader struct {
	name       uintptr
	nameLen    uint64
	vector     uintptr
	vectorLen  uint64
	control    uintptr
	controlLen uint64
	flags      uint64
}

// ioVector is struct iovec.
type ioVector struct{ base, len uintptr }

// socketAddress is struct sockaddr_un.
type socketAddress struct {
	family uint16
	path   [64]byte
}

// program is the root of all that runs in a helper process: everything that can be
// reached from here, by calls, from supervise and from lead. It never returns. sp is the
// stack that execve(2) made.
//
//go:nosplit
//go:norace
func program(sp uintptr, way Way) {
	h := &self
	h.way = way
	if way == ByEntry {
		h.mask = setMask(^uint64(0))
	}
	sys(_SYS_PRCTL, _PR_SET_NAME, uintptr(unsafe.Pointer(&argv0Name[0])), 0, 0, 0)
	if h.goMemorySize != 0 {
		sys(_SYS_MUNMAP, h.goMemory, h.goMemorySize, 0, 0, 0)
	}
	h.readStack(sp)
	if e := h.findOwner(); e < 0 {
		h.refuse(RefusedPeer, -e)
	}
	if h.secure {
		h.refuse(RefusedSecure, _EPERM)
	}
	h.hello()
	if e := h.receive(); e < 0 {
		h.refuse(RefusedSpec, -e)
	}
	if e := h.relocate(); e < 0 {
		h.refuse(RefusedSpec, -e)
	}
	if h.head.Flags&FlagWatch != 0 {
		watchFunc(h)
	}
	serveFunc(h)
}

// The two lives of a helper. They and their longest parts are variables, so that the
// linker takes each as a chain of its own: it allows the frames of one no more than
// the few hundred bytes that a goroutine has left, and the stack here is the kernel's.
var (
	watchFunc     = (*helper).watch
	serveFunc     = (*helper).serve
	prepareFunc   = (*proxy).prepare
	writeMapsFunc = (*proxy).writeMaps
	takeOverFunc  = (*proxy).takeOver
	handOverFunc  = (*proxy).handOver
	killFunc      = (*watcher).kill
	memberFunc    = (*watcher).isMember
)

// readStack takes argv, envp and what it needs of the auxiliary vector.
//
//go:nosplit
//go:norace
func (h *helper) readStack(sp uintptr) {
	const size = unsafe.Sizeof(uintptr(0))
	h.argv = sp + size
	h.envp = h.argv + (word(sp)+1)*size
	at := h.envp
	for word(at) != 0 {
		at += size
	}
	for at += size; word(at) != 0; at += 2 * size {
		switch word(at) {
		case _AT_SECURE:
			h.secure = word(at+size) != 0
		case _AT_EXECFN:
			h.execfn = word(at + size)
		case _AT_PHDR:
			h.headers.at = word(at + size)
		case _AT_PHENT:
			h.headers.size = word(at + size)
		case _AT_PHNUM:
			h.headers.n = word(at + size)
		}
	}
}

// findOwner gets the channel to the owner, and checks who is at its end. A parent controls
// its child's descriptors, arguments and environment: this is no defence against the
// parent, but against being started by accident or across a change of credentials.
//
//go:nosplit
//go:norace
func (h *helper) findOwner() int {
	h.channel = -1
	n := h.execfn + uintptr(len(PathMark))
	if peek(n) == '/' {
		return h.inheritedChannel()
	}
	h.wrapped = true
	return h.connect(n)
}

// inheritedChannel takes the channel that the environment names.
//
//go:nosplit
//go:norace
func (h *helper) inheritedChannel() int {
	v := word(h.envp)
	if v == 0 {
		return -_EBADF
	}
	for i := 0; i < len(FDEnv); i++ {
		if peek(v+uintptr(i)) != FDEnv[i] {
			return -_EBADF
		}
	}
	fd := number(v + uintptr(len(FDEnv)) + 1)
	if peek(v+uintptr(len(FDEnv))) != '=' || fd < 3 {
		return -_EBADF
	}
	if e := h.peer(fd); e < 0 {
		return e
	}
	if int(h.cred.uid) != sys(_SYS_GETEUID, 0, 0, 0, 0, 0) || int(h.cred.gid) != sys(_SYS_GETEGID, 0, 0, 0, 0, 0) {
		return -_EPERM
	}
	sys(_SYS_FCNTL, uintptr(fd), _F_SETFD, _FD_CLOEXEC, 0, 0)
	h.channel = fd
	return 0
}

// connect asks the owner of a wrapped command, which must be the parent: a name is no
// credential, and an abstract one can be taken by anyone in the network namespace. The
// parent may have changed this process's user (SysProcAttr.Credential), which
// takes root.
//
//go:nosplit
//go:norace
func (h *helper) connect(n uintptr) int {
	parent := sys(_SYS_GETPPID, 0, 0, 0, 0, 0)
	if parent <= 0 { // in another PID namespace
		return -_ESRCH
	}
	fd := sys(_SYS_SOCKET, _AF_UNIX, _SOCK_STREAM|_SOCK_CLOEXEC, 0, 0, 0)
	if fd < 0 {
		return fd
	}
	h.address.family = _AF_UNIX
	at := 1 // behind the NUL that makes it abstract
	for i := 0; i < len(SocketMark); i++ {
		h.address.path[at&63] = SocketMark[i]
		at++
	}
	digits := h.digits(parent)
	for ; digits < len(h.number); digits++ {
		h.address.path[at&63] = h.number[digits]
		at++
	}
	h.address.path[at&63] = '/'
	at++
	for c := peek(n); c >= '0' && c <= '9' && at < len(h.address.path); c = peek(n) {
		h.address.path[at&63] = c
		at++
		n++
	}
	if e := sys(_SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&h.address)), uintptr(2+at), 0, 0); e < 0 {
		return e
	}
	if e := h.peer(fd); e < 0 {
		return e
	}
	mine := sys(_SYS_GETEUID, 0, 0, 0, 0, 0)
	if int(h.cred.pid) != parent || sys(_SYS_GETPPID, 0, 0, 0, 0, 0) != parent || int(h.cred.uid) != mine && h.cred.uid != 0 {
		return -_EPERM
	}
	h.channel = fd
	return 0
}

// peer asks who is at the other end of a socket.
//
//go:nosplit
//go:norace
func (h *helper) peer(fd int) int {
	h.control[0], h.control[1], h.control[2], h.control[3] = byte(unsafe.Sizeof(h.cred)), 0, 0, 0
	return sys(_SYS_GETSOCKOPT, uintptr(fd), _SOL_SOCKET, _SO_PEERCRED, uintptr(unsafe.Pointer(&h.cred)), uintptr(unsafe.Pointer(&h.control[0])))
}

// digits writes n at the end of h.number and returns where it begins.
//
//go:nosplit
//go:norace
func (h *helper) digits(n int) int {
	i := len(h.number)
	for {
		i--
		h.number[i%len(h.number)] = byte('0' + n%10)
		n /= 10
		if n <= 0 || i <= 0 {
			return i
		}
	}
}

// hello says that this executable has begun as a helper, and in which way, with whatever
// is said first.
//
//go:nosplit
//go:norace
func (h *helper) hello() {
	Raw.toOwner.add(Message{Op: OpHello, A: Version, B: uint32(sys(_SYS_GETPID, 0, 0, 0, 0, 0)), C: uint32(h.way)})
}

// usualBlock is room for most blocks, which are read by one call.
const usualBlock = 64 << 10

// receive reads the block, into place.
//
//go:nosplit
//go:norace
func (h *helper) receive() int {
	const headSize = unsafe.Sizeof(h.head)
	room := h.room(usualBlock)
	if room < 0 && room > -4096 {
		return room
	}
	h.vector[0] = ioVector{uintptr(unsafe.Pointer(&h.head)), headSize}
	h.vector[1] = ioVector{uintptr(room) + headSize, usualBlock - headSize}
	h.message = messageHeader{
		vector: uintptr(unsafe.Pointer(&h.vector)), vectorLen: 2,
		control: uintptr(unsafe.Pointer(&h.control[0])), controlLen: uint64(len(h.control)),
	}
	n := sys(_SYS_RECVMSG, uintptr(h.channel), uintptr(unsafe.Pointer(&h.message)), _MSG_CMSG_CLOEXEC, 0, 0)
	if n < 0 {
		return n
	}
	if n < int(headSize) || h.head.Version != Version || h.head.Size < uint32(n) || h.head.Size > maxBlock {
		return -_EPROTO
	}
	if e := h.takeFiles(); e < 0 {
		return e
	}
	h.block = uintptr(room)
	if h.head.Size > usualBlock {
		room = h.room(uintptr(h.head.Size))
		if room < 0 && room > -4096 {
			return room
		}
		for i := uintptr(0); i < uintptr(n); i++ {
			poke(uintptr(room)+i, peek(h.block+i))
		}
		h.block = uintptr(room)
	}
	for at := uintptr(n); at < uintptr(h.head.Size); {
		n := sys(_SYS_READ, uintptr(h.channel), h.block+at, uintptr(h.head.Size)-at, 0, 0)
		if n == 0 {
			return -_EPROTO
		}
		if n < 0 && n != -_EINTR {
			return n
		}
		if n > 0 {
			at += uintptr(n)
		}
	}
	if h.head.Size > uint32(headSize) && peek(h.block+uintptr(h.head.Size)-1) != 0 { // else a string could have no end
		return -_EPROTO
	}
	return 0
}

// room returns so much memory, or -errno.
//
//go:nosplit
//go:norace
func (h *helper) room(size uintptr) int {
	return sys6(_SYS_MMAP, 0, size, _PROT_READ|_PROT_WRITE, _MAP_PRIVATE|_MAP_ANONYMOUS, ^uintptr(0), 0)
}

// takeFiles finds the descriptors that came with the head, cmsg(3).
//
//go:nosplit
//go:norace
func (h *helper) takeFiles() int {
	const cmsgHead = 16 // a length of 64 bits, level and type of 32
	next := uintptr(unsafe.Pointer(&h.control[0]))
	got := uintptr(0)
	if h.message.controlLen > cmsgHead {
		got = (word(next) - cmsgHead) / 4
		next += cmsgHead
	}
	for i := 0; i < numBlockFiles; i++ {
		h.files[i] = -1
		if h.head.Files&(1<<uint(i)) == 0 {
			continue
		}
		if got == 0 {
			return -_EBADF
		}
		got--
		h.files[i] = int(int32(word32(next)))
		next += 4
	}
	return 0
}

// relocate makes addresses of the offsets in the lists, and checks them all.
//
//go:nosplit
//go:norace
func (h *helper) relocate() int {
	b := &h.head
	for i := 0; i < 7; i++ {
		if h.offset(i) >= b.Size {
			return -_EPROTO
		}
	}
	if b.Groups >= b.Size || b.NumGroups > (b.Size-b.Groups)/4 {
		return -_EPROTO
	}
	if e := h.relocateList(b.Argv); e < 0 {
		return e
	}
	return h.relocateList(b.Envp)
}

// offset returns one of the head's offsets of strings and lists.
//
//go:nosplit
//go:norace
func (h *helper) offset(i int) uint32 {
	return word32(uintptr(unsafe.Pointer(&h.head.Path)) + uintptr(i)*4)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (h *helper) relocateList(list uint32) int {
	const size = uint32(unsafe.Sizeof(uintptr(0)))
	if list == 0 {
		return 0
	}
	for at := list; ; at += size {
		if at%size != 0 || at > h.head.Size-size {
			return -_EPROTO
		}
		place := h.block + uintptr(at)
		offset := word(place)
		if offset == 0 {
			return 0
		}
		if offset >= uintptr(h.head.Size) {
			return -_EPROTO
		}
		**(**uintptr)(unsafe.Pointer(&place)) = h.block + offset
	}
}

// at is the address of what an offset of the block names, 0 if that is nothing.
//
//go:nosplit
//go:norace
func (h *helper) at(offset uint32) uintptr {
	if offset == 0 {
		return 0
	}
	return h.block + uintptr(offset)
}

// refuse ends this process before anything was started, with a word on standard
// error only if there is no owner to tell.
//
//go:nosplit
//go:norace
func (h *helper) refuse(why Refusal, errno int) {
	if h.channel >= 0 {
		tellOwner(h.channel, OpRefused, uint32(why), uint32(errno))
	} else {
		sys(_SYS_WRITE, 2, uintptr(unsafe.Pointer(&refusal[0])), uintptr(len(refusal)), 0, 0)
	}
	exit(125)
}

var refusal = [...]byte{
	'c', 'o', 'n', 't', 'a', 'i', 'n', ':', ' ', 't', 'h', 'e', ' ', 's', 'e', 'r', 'v', 'i', 'c', 'e', ' ', 't', 'h', 'a', 't', ' ',
	'w', 'r', 'a', 'p', 'p', 'e', 'd', ' ', 't', 'h', 'i', 's', ' ', 'c', 'o', 'm', 'm', 'a', 'n', 'd', ' ', 'c', 'a', 'n', 'n', 'o', 't', ' ',
	'b', 'e', ' ', 'r', 'e', 'a', 'c', 'h', 'e', 'd', ';', ' ', 'n', 'o', 't', 'h', 'i', 'n', 'g', ' ', 'w', 'a', 's', ' ', 'r', 'u', 'n', '\n',
}
