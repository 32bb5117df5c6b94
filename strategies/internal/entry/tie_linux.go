//go:build linux && (amd64 || arm64 || riscv64)

package entry

import "unsafe"

// forkTied is cloneSupervisor for a supervisor that is tied to a pidfd, which is in r.Tie
// then, and open in no process but this one.
//
//go:nosplit
//go:norace
func (r *Supervisor) forkTied() int {
	r.Tie = -1
	r.clone = cloneArgs{
		flags: uint64(r.InitFlags) | _CLONE_PIDFD, pidfd: uint64(uintptr(unsafe.Pointer(&r.Tie))),
		stack: uint64(supervisorStack.base()), stackSize: uint64(unsafe.Sizeof(supervisorStack)),
	}
	return cloneOntoStack(_SYS_CLONE3, uintptr(unsafe.Pointer(&r.clone)), unsafe.Sizeof(r.clone), &superviseFunc)
}

// rights is struct cmsghdr with one descriptor, cmsg(3).
type rights struct {
	len         uint64
	level, kind int32
	fd          int32
	_           int32
}

// handOver gives the pidfd that the supervisor is tied to to the owner, and keeps no copy.
// While it is on its way it lives by the channel: where the owner has ended, or ends
// before it has taken it, nobody holds it, and the supervisor, which has not begun
// anything, ends.
//
//go:nosplit
//go:norace
func (p *proxy) handOver(h *helper) {
	r := &Raw
	p.message = Message{Op: OpTied}
	h.rights = rights{len: 20, level: _SOL_SOCKET, kind: _SCM_RIGHTS, fd: r.Tie}
	h.vector[0] = ioVector{uintptr(unsafe.Pointer(&p.message)), MessageSize}
	h.message = messageHeader{
		vector: uintptr(unsafe.Pointer(&h.vector)), vectorLen: 1,
		control: uintptr(unsafe.Pointer(&h.rights)), controlLen: uint64(unsafe.Sizeof(h.rights)),
	}
	e := sys(_SYS_SENDMSG, uintptr(h.channel), uintptr(unsafe.Pointer(&h.message)), _MSG_NOSIGNAL, 0, 0)
	closeFD(int(r.Tie))
	if e < 0 {
		exit(125) // there is no owner to tell
	}
}
