package supervisor

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// See package entry.
const (
	Version = entry.Version
	Argv0   = entry.Argv0
	FDEnv   = entry.FDEnv
)

// Spec is what a supervisor is told, over its channel, about the backend. It
// never travels in the supervisor's own arguments or environment, where
// GODEBUG, GOMEMLIMIT or LD_PRELOAD would act on the supervisor itself.
type Spec struct {
	// Probe sets everything up and starts nothing.
	Probe bool
	Path  string
	Args  []string
	Env   []string
	Dir   string
	// Files is the number of descriptors, from 0 on, that belong to the backend.
	Files        int
	OnLeaderExit LeaderExit
	// KillDeadline and KillSignal come from the contract.
	KillDeadline time.Duration
	KillSignal   int
	// OwnerFD is a descriptor that polls readable when the owner is gone (on Linux
	// a pidfd), or -1. The end of the channel counts as the owner's end, too.
	OwnerFD int
	// InitFlags, if not 0, are the namespaces (CLONE_NEWPID and what it needs) that
	// the supervisor is born in: as the init of a PID namespace, whose end is the
	// end of everything in it, pid_namespaces(7).
	InitFlags uint64
	// Watch, if not "", is a cgroup that the supervisor ends when the owner is
	// gone; there is no backend then.
	Watch string
	// CgroupFD, if not negative, is the directory of the cgroup that the leader is
	// born in, KillFD its cgroup.kill, and Cgroup its path, which is removed at the end.
	// LockFD holds the lock that says that the cgroup is in use.
	CgroupFD, KillFD, LockFD int
	Cgroup                   string
	// Ignored is the set of signals, bit n-1 for signal n, that the backend ignores.
	Ignored uint64
	Attr    Attr
}

// Attr is what of syscall.SysProcAttr is applied to the backend between fork
// and exec, in the form that a process without a Go runtime can apply.
type Attr struct {
	Chroot       string
	Credential   bool
	UID, GID     uint32
	Groups       []uint32
	NoSetGroups  bool
	AmbientCaps  []uint32
	Setsid       bool
	Setpgid      bool
	Pgid         int
	Foreground   bool
	ForegroundFD int
	Setctty      bool
	Noctty       bool
	Ctty         int
	Cloneflags   uint64
	Unshareflags uint64
}

// KillDeadline and KillSignal are those of the contract in package registry, and
// ParentEndGrace is registry's, too. Tests pin them: package runner does without registry,
// and so does this one.
const (
	KillDeadline   = 5 * time.Second
	KillSignal     = 9
	ParentEndGrace = 5 * time.Second
)

var errSpec = errors.New("malformed supervisor specification")

// NewSpec returns a Spec without descriptors.
func NewSpec() *Spec { return &Spec{OwnerFD: -1, CgroupFD: -1, KillFD: -1, LockFD: -1} }

// Append appends the encoding of s, which Decode reads.
func (s *Spec) Append(b []byte) []byte {
	e := encoder{b}
	e.bool(s.Probe)
	e.string(s.Path)
	e.strings(s.Args)
	e.strings(s.Env)
	e.string(s.Dir)
	e.int(s.Files)
	e.int(int(s.OnLeaderExit))
	e.int(int(s.KillDeadline))
	e.int(s.KillSignal)
	e.int(s.OwnerFD)
	e.uint(s.InitFlags)
	e.string(s.Watch)
	e.int(s.CgroupFD)
	e.int(s.KillFD)
	e.int(s.LockFD)
	e.string(s.Cgroup)
	e.uint(s.Ignored)
	a := &s.Attr
	e.string(a.Chroot)
	e.bool(a.Credential)
	e.uint(uint64(a.UID))
	e.uint(uint64(a.GID))
	e.uint32s(a.Groups)
	e.bool(a.NoSetGroups)
	e.uint32s(a.AmbientCaps)
	e.bool(a.Setsid)
	e.bool(a.Setpgid)
	e.int(a.Pgid)
	e.bool(a.Foreground)
	e.int(a.ForegroundFD)
	e.bool(a.Setctty)
	e.bool(a.Noctty)
	e.int(a.Ctty)
	e.uint(a.Cloneflags)
	e.uint(a.Unshareflags)
	return e.b
}

// Decode reads what Append wrote, and nothing more.
func (s *Spec) Decode(b []byte) error {
	d := decoder{b: b}
	s.Probe = d.bool()
	s.Path = d.string()
	s.Args = d.strings()
	s.Env = d.strings()
	s.Dir = d.string()
	s.Files = d.int()
	s.OnLeaderExit = LeaderExit(d.int())
	s.KillDeadline = time.Duration(d.int())
	s.KillSignal = d.int()
	s.OwnerFD = d.int()
	s.InitFlags = d.uint()
	s.Watch = d.string()
	s.CgroupFD = d.int()
	s.KillFD = d.int()
	s.LockFD = d.int()
	s.Cgroup = d.string()
	s.Ignored = d.uint()
	a := &s.Attr
	a.Chroot = d.string()
	a.Credential = d.bool()
	a.UID = uint32(d.uint())
	a.GID = uint32(d.uint())
	a.Groups = d.uint32s()
	a.NoSetGroups = d.bool()
	a.AmbientCaps = d.uint32s()
	a.Setsid = d.bool()
	a.Setpgid = d.bool()
	a.Pgid = d.int()
	a.Foreground = d.bool()
	a.ForegroundFD = d.int()
	a.Setctty = d.bool()
	a.Noctty = d.bool()
	a.Ctty = d.int()
	a.Cloneflags = d.uint()
	a.Unshareflags = d.uint()
	if d.bad || len(d.b) != 0 {
		return errSpec
	}
	return nil
}

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int)     { e.b = binary.AppendVarint(e.b, int64(v)) }
func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}
func (e *encoder) string(v string) {
	e.uint(uint64(len(v)))
	e.b = append(e.b, v...)
}
func (e *encoder) strings(v []string) {
	e.uint(uint64(len(v)))
	for _, s := range v {
		e.string(s)
	}
}
func (e *encoder) uint32s(v []uint32) {
	e.uint(uint64(len(v)))
	for _, n := range v {
		e.uint(uint64(n))
	}
}

type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	return took(d, v, n)
}
func (d *decoder) int() int {
	v, n := binary.Varint(d.b)
	return int(took(d, v, n))
}
func took[T any](d *decoder, v T, n int) T {
	var zero T
	if n <= 0 {
		d.bad, d.b = true, nil
		return zero
	}
	d.b = d.b[n:]
	return v
}
func (d *decoder) bool() bool { return d.uint() != 0 }

// length reads the number of elements that follow, each of which takes a byte at least.
func (d *decoder) length() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}
func (d *decoder) string() string {
	n := d.length()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
func (d *decoder) strings() []string {
	v := make([]string, d.length())
	for i := range v {
		v[i] = d.string()
	}
	return v
}
func (d *decoder) uint32s() []uint32 {
	v := make([]uint32, d.length())
	for i := range v {
		v[i] = uint32(d.uint())
	}
	return v
}
