package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// Install implements [registry.Strategy].
func (autokill) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	flags, err := autokillFlags()
	if err != nil {
		return nil, err
	}
	i, err := newSupervised(ctx, AutokillName, flags, opts)
	if err == nil {
		i.cleanup, err = bind(AutokillName, opts, &i.backends)
	}
	if err != nil {
		return nil, whyNoAutokill(err)
	}
	return i, nil
}

// Probe implements [registry.Prober]: it ties an init to a pidfd, in its namespace.
func (autokill) Probe(ctx context.Context) error {
	flags, err := autokillFlags()
	if err == nil {
		_, err = newSupervised(ctx, AutokillName, flags, registry.InstallOptions{})
	}
	return whyNoAutokill(err)
}

// Run implements [registry.Runner].
func (autokill) Run(ctx context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	flags, err := autokillFlags()
	if err != nil {
		return registry.RunResult{}, err
	}
	res, err := (&supervised{strategy: AutokillName, initFlags: flags}).run(ctx, cmd, opts)
	return res, whyNoAutokill(err)
}

// autokillFlags returns what the init is born with.
func autokillFlags() (uint64, error) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return 0, &registry.Error{Op: "probe", Strategy: AutokillName, Err: fmt.Errorf("%w: it works on amd64 and arm64, this is %s; name %s", errors.ErrUnsupported, runtime.GOARCH, PidnsName)}
	}
	flags := pidnsFlags() | entry.CloneTied
	if flags&unix.CLONE_NEWUSER != 0 {
		flags |= entry.CloneNoNewPrivileges
	}
	return flags, nil
}

// whyNoAutokill adds to a refusal what on this host causes it, and what to do. A kernel
// that does not know the flags answers EINVAL to all of them, clone(2).
func whyNoAutokill(err error) error {
	var failed *supervisor.StartError
	if errors.As(err, &failed) && failed.Step == supervisor.StepFork && (errors.Is(failed.Err, unix.EINVAL) || errors.Is(failed.Err, unix.E2BIG)) {
		return fmt.Errorf("%w; it takes Linux 7.1 (CLONE_PIDFD_AUTOKILL), before that there is %s", err, PidnsName)
	}
	return whyNoNamespaces(err)
}

// receive reads a message before the backend has started, with the pidfd that may come
// with it: a plain read would close that.
func (h *handshake) receive() (m supervisor.Message, err error) {
	if !h.owner.tied() {
		return readMessage(h.channel)
	}
	conn, err := h.channel.SyscallConn()
	if err != nil {
		return m, err
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize)
	rights := make([]byte, unix.CmsgSpace(4))
	var n, with int
	var refused error
	err = conn.Read(func(channel uintptr) bool {
		for refused = unix.EINTR; refused == unix.EINTR; {
			n, with, _, _, refused = unix.Recvmsg(int(channel), b, rights, unix.MSG_CMSG_CLOEXEC)
		}
		return refused != unix.EAGAIN
	})
	switch {
	case err != nil:
		return m, err
	case refused != nil:
		return m, os.NewSyscallError("recvmsg", refused)
	case n == 0:
		return m, io.EOF
	case n < len(b): // no message is sent in parts
		return m, io.ErrUnexpectedEOF
	case m.Op == supervisor.OpTied:
		h.tie, err = takePidfd(rights[:with])
	}
	return m, err
}

// takePidfd returns the descriptor of a control message.
func takePidfd(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("the supervisor's pidfd did not come with its message: %w", errors.Join(err, unix.EBADMSG))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("the supervisor's pidfd did not come with its message: %w", errors.Join(err, unix.EBADMSG))
	}
	return os.NewFile(uintptr(fds[0]), "pidfd of a supervisor"), nil
}

// untie gives up the pidfd when the init has ended, or after the deadline within which it
// should have: the kernel ends it then. A pidfd of an init polls readable when
// nothing of its namespace is left, zap_pid_ns_processes in Linux' kernel/pid_namespace.c.
func (h *handshake) untie() {
	if h.tie == nil {
		return
	}
	defer h.tie.Close()
	conn, err := h.tie.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		until := time.Now().Add(supervisor.KillDeadline)
		for time.Now().Before(until) {
			if _, err := unix.Poll(fds, int(time.Until(until).Milliseconds())); err != unix.EINTR {
				return
			}
		}
	})
}
