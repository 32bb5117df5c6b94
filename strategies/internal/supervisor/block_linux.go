package supervisor

import (
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// Block lays s out as a helper takes it, in one piece, and returns the descriptors that
// go with it. Arguments, environment, directory and attributes of a wrapped command are
// those that the helper itself was started with. procs is the file by which the leader
// moves itself to its cgroup, or -1.
func (s *Spec) Block(wrapped bool, procs int) (block []byte, files []int, err error) {
	a := &s.Attr
	head := entry.Block{
		Version: entry.Version, Flags: s.flags(wrapped),
		OnLeaderExit: uint32(s.OnLeaderExit), KillSignal: uint32(s.KillSignal), KillDeadline: s.KillDeadline.Milliseconds(),
		InitFlags: s.InitFlags, Ignored: s.Ignored, CloneFlags: a.Cloneflags, Unshareflags: a.Unshareflags,
		UID: a.UID, GID: a.GID, Pgid: int32(a.Pgid), Ctty: int32(a.Ctty), NumGroups: uint32(len(a.Groups)),
	}
	for _, c := range a.AmbientCaps {
		if c >= entry.NumCaps {
			return nil, nil, unix.EINVAL
		}
		head.Caps |= 1 << c
	}
	b := layout{b: make([]byte, unsafe.Sizeof(head), 4096)}
	if len(a.Groups) > 0 {
		head.Groups = b.begin()
		for _, g := range a.Groups {
			b.b = binary.NativeEndian.AppendUint32(b.b, g)
		}
	}
	head.Path, head.Dir, head.Chroot = b.text(s.Path), b.text(s.Dir), b.text(a.Chroot)
	head.Cgroup, head.Watch = b.text(s.Cgroup), b.text(s.Watch)
	if !wrapped {
		head.Argv, head.Envp = b.list(s.Args), b.list(s.Env)
	}
	b.b = append(b.b, 0)
	for i, fd := range [...]int{s.OwnerFD, s.CgroupFD, s.KillFD, s.LockFD, s.terminal(), procs} {
		if fd >= 0 {
			head.Files |= 1 << i
			files = append(files, fd)
		}
	}
	head.Size = uint32(len(b.b))
	copy(b.b, unsafe.Slice((*byte)(unsafe.Pointer(&head)), unsafe.Sizeof(head)))
	return b.b, files, b.err
}

// BlockHead is how much of a block goes with the descriptors.
const BlockHead = int(unsafe.Sizeof(entry.Block{}))

func (s *Spec) terminal() int {
	if s.Attr.Foreground {
		return s.Attr.ForegroundFD
	}
	return -1
}

func (s *Spec) flags(wrapped bool) (flags entry.BlockFlags) {
	a := &s.Attr
	for _, f := range [...]struct {
		is   bool
		flag entry.BlockFlags
	}{
		{s.Probe, entry.FlagProbe}, {s.Watch != "", entry.FlagWatch}, {wrapped, entry.FlagWrapped},
		{mayShareMemory(a), entry.FlagShareMemory},
		{a.Credential, entry.FlagCredential}, {a.NoSetGroups, entry.FlagNoSetGroups},
		{a.Setsid, entry.FlagSetsid}, {a.Setpgid, entry.FlagSetpgid}, {a.Foreground, entry.FlagForeground},
		{a.Setctty, entry.FlagSetctty}, {a.Noctty, entry.FlagNoctty},
	} {
		if f.is {
			flags |= f.flag
		}
	}
	return flags
}

// layout is a block that is being made.
type layout struct {
	b   []byte
	err error
}

// begin returns the offset of what is added next, aligned to a word.
func (l *layout) begin() uint32 {
	for len(l.b)%8 != 0 {
		l.b = append(l.b, 0)
	}
	return uint32(len(l.b))
}

// text adds a string; "" is nothing.
func (l *layout) text(v string) uint32 {
	if v == "" {
		return 0
	}
	return l.add(v)
}

func (l *layout) add(v string) uint32 {
	if strings.IndexByte(v, 0) >= 0 {
		l.err = unix.EINVAL
	}
	at := uint32(len(l.b))
	l.b = append(append(l.b, v...), 0)
	return at
}

// list adds a list of strings.
func (l *layout) list(v []string) uint32 {
	at := l.begin()
	l.b = append(l.b, make([]byte, 8*(len(v)+1))...)
	for i, s := range v {
		offset := l.add(s) // which may move l.b
		binary.NativeEndian.PutUint64(l.b[int(at)+8*i:], uint64(offset))
	}
	return at
}
