package entry

// Version is that of Block and of the messages. Owner and helper are the same
// executable, or Config.Supervisor names one that must speak the same version.
const Version = 4

// Argv0 is the name of every helper: its argument list, where that is not the
// backend's own, and its thread's name. One word that no program takes for an option
// or a file, and that pidof and pgrep of the service's name do not find.
const Argv0 = "contain-supervisor"

// FDEnv is the environment variable with the number of the channel to the owner. It
// is the first of a helper's environment.
const FDEnv = "CONTAIN_SUPERVISOR_FD"

// PathMark begins the path by which a helper is executed; the number of a descriptor
// of the executable follows. The dot makes it a path that nobody writes by accident:
// fexecve(3), for one, executes /proc/self/fd/N. execve(2) hands it on as AT_EXECFN,
// getauxval(3), whatever becomes of arguments and environment.
const (
	PathMark = "/proc/self/fd/./"
	// StartMark is PathMark for a helper that is told what to start over an inherited
	// descriptor. All others ask the socket that SocketName names.
	StartMark = PathMark + "/"
)

// SocketMark begins the abstract name of the socket, unix(7), by which a wrapped
// command finds its owner: the owner's PID, a slash and the path's number follow.
const SocketMark = "contain/"

// Block is the head of what an owner tells a helper, in the machine's byte order. The rest
// follows: strings, each with a NUL behind it, and lists of numbers and of words.
// Offsets count from the first byte of the head; 0 is nothing.
type Block struct {
	Version uint32
	Size    uint32 // of head and rest
	Flags   BlockFlags
	// Files says which descriptors come with the head, in the order of the bits.
	Files BlockFiles

	OnLeaderExit uint32
	KillSignal   uint32
	KillDeadline int64  // milliseconds
	InitFlags    uint64 // of clone(2), for the supervisor
	Ignored      uint64 // signals, bit n-1 for signal n
	CloneFlags   uint64
	Unshareflags uint64
	Caps         uint64 // ambient capabilities
	UID, GID     uint32
	Pgid, Ctty   int32
	NumGroups    uint32
	Groups       uint32 // numbers of 32 bits

	Path, Dir, Chroot uint32
	Argv, Envp        uint32 // lists of words, each an offset, ended by 0
	Cgroup            uint32 // the path of the leader's cgroup
	Watch             uint32 // the path of the cgroup of the owner's backends
	_                 uint32
}

// BlockFlags are what is or isn't.
type BlockFlags uint32

// The flags.
const (
	// FlagProbe: set everything up and start nothing.
	FlagProbe BlockFlags = 1 << iota
	// FlagWatch: there is no backend; watch over the cgroup Watch.
	FlagWatch
	// FlagWrapped: arguments, environment, directory and attributes are the helper's own.
	FlagWrapped
	// FlagShareMemory: the leader may share memory with the supervisor until its exec.
	FlagShareMemory
	FlagCredential
	FlagNoSetGroups
	FlagSetsid
	FlagSetpgid
	FlagForeground
	FlagSetctty
	FlagNoctty
)

// BlockFiles are descriptors that come with a Block.
type BlockFiles uint32

// The descriptors.
const (
	// FileOwner polls readable when the owner is gone: a pidfd.
	FileOwner BlockFiles = 1 << iota
	// FileCgroup is the directory of the cgroup that the leader is born in.
	FileCgroup
	// FileKill is that cgroup's cgroup.kill.
	FileKill
	// FileLock is the lock that says that a cgroup is in use.
	FileLock
	// FileTerminal is that which the leader is to be in the foreground of.
	FileTerminal
	// FileProcs is the cgroup.procs by which the leader moves itself to its cgroup, opened by
	// who may: not every wrapped command's user may have a child born there.
	FileProcs
)

// A Way is how a helper began.
type Way uint32

// The ways.
const (
	// ByEntry: at the first instruction of the program, before the Go runtime.
	ByEntry Way = iota
	// ByFirstInit: in the first init function, before every package that could do harm.
	ByFirstInit
)

// String returns the way's name in logs.
func (w Way) String() string {
	if w == ByEntry {
		return "entry"
	}
	return "first-init"
}
