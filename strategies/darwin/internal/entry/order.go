// Package entry makes a program that was started as a kqueue supervisor become
// one, before its main. It does so by itself on macOS only.
//
// Three processes of ours stand between a service and what it starts:
//
//	service ── proxy ── supervisor ── leader ── …the tree
//
// The proxy is this executable, started again: it is what the service knows as
// cmd.Process, and it ends as the leader ends. Killing it orders the end of the
// tree. It starts the executable once more as the supervisor, which watches
// service, proxy and tree with a kqueue and leads a session of its own.
package entry

import (
	"encoding/binary"
	"errors"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// An Order is what the owner tells the supervisor over its channel.
type Order struct {
	// OwnerPID and OwnerUnique identify the process to be watched.
	OwnerPID    int
	OwnerUnique uint64
	// Home is the owner's process group, which the leader joins unless Spec says
	// otherwise: proxy and supervisor are not in it.
	Home int
	Spec supervisor.Spec
}

const orderHead = 4 + 3*8

// Append appends the encoding of o: a length of four bytes and what Decode reads.
func (o *Order) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(o.OwnerPID))
	b = binary.BigEndian.AppendUint64(b, o.OwnerUnique)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Home))
	b = o.Spec.Append(b)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// Decode reads what Append wrote, without the length.
func (o *Order) Decode(b []byte) error {
	if len(b) < orderHead-4 {
		return errors.New("short order to the supervisor")
	}
	o.OwnerPID = int(binary.BigEndian.Uint64(b))
	o.OwnerUnique = binary.BigEndian.Uint64(b[8:])
	o.Home = int(binary.BigEndian.Uint64(b[16:]))
	return o.Spec.Decode(b[24:])
}
