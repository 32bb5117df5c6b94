package drill

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// channel is the driver's end of what members report on: a socket, because the
// kernel adds the sender's PID as the driver's PID namespace numbers it,
// SCM_CREDENTIALS in unix(7), whatever the sender itself believes.
type channel struct{ f *os.File }

// newChannel returns both ends.
func newChannel() (channel, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return channel{}, nil, fmt.Errorf("make a channel for reports: %w", os.NewSyscallError("socketpair", err))
	}
	theirs := os.NewFile(uintptr(fds[1]), "reports")
	err = errors.Join(
		os.NewSyscallError("setsockopt SO_PASSCRED", unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)),
		os.NewSyscallError("set non-blocking", unix.SetNonblock(fds[0], true)))
	ours := channel{os.NewFile(uintptr(fds[0]), "reports")}
	if err != nil {
		ours.close()
		theirs.Close()
	}
	return ours, theirs, err
}

// next returns one report, or io.EOF when nobody is left to write one.
func (c channel) next() (m message, err error) {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return message{}, err
	}
	var buf [recordSize]byte
	var oob [64]byte
	var n, oobn int
	e := raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), buf[:], oob[:], unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	switch {
	case e != nil:
		return message{}, e
	case err != nil:
		return message{}, os.NewSyscallError("recvmsg", err)
	case n == 0:
		return message{}, io.EOF
	case n != recordSize:
		return message{}, fmt.Errorf("a report of %d bytes", n)
	}
	m = readRecord(buf[:])
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return message{}, fmt.Errorf("a report without its sender: %v", err)
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		return message{}, err
	}
	m.pid = int(cred.Pid)
	return m, nil
}

func (c channel) close() { c.f.Close() }
