//go:build linux || darwin

package entry

import (
	"encoding/binary"
	"io"
	"os"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// What owner and supervisor tell each other here beside the ops of package supervisor.
const (
	// OpTerminate: send signal A to every member.
	OpTerminate supervisor.Op = 64 + iota
	// OpMembers: list the members. Answered by an OpMember for each and OpMembersEnd.
	OpMembers
	// OpMember: A is the PID of a member.
	OpMember
	// OpMembersEnd ends the list; A is an errno.
	OpMembersEnd
)

// ReadMessage reads one message.
func ReadMessage(r io.Reader) (m supervisor.Message, err error) {
	var b [supervisor.MessageSize]byte
	if _, err = io.ReadFull(r, b[:]); err != nil {
		return m, err
	}
	at := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	return supervisor.Message{Op: supervisor.Op(at(0)), A: at(1), B: at(2), C: at(3)}, nil
}

// WriteMessage writes one message, all of it or none.
func WriteMessage(w io.Writer, m supervisor.Message) error {
	b := make([]byte, 0, supervisor.MessageSize)
	for _, v := range []uint32{uint32(m.Op), m.A, m.B, m.C} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	_, err := w.Write(b)
	return err
}

// readOrder reads what Order.Append wrote.
func readOrder(r io.Reader) (o Order, err error) {
	var head [4]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return o, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 { // arguments and environment are bounded far below, execve(2)
		return o, os.ErrInvalid
	}
	b := make([]byte, n)
	if _, err = io.ReadFull(r, b); err != nil {
		return o, err
	}
	return o, o.Decode(b)
}
