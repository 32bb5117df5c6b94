package entry

// Supervisor is all that a supervisor and the leader's first steps touch, filled in
// by the proxy before it forks. No pointer is in it, so that no write of it needs
// Go's write barrier: addresses are words, and what they refer to is outside of Go's heap.
type Supervisor struct {
	Machine Machine
	Command
	Attr Attr
	Rules
	Files
	progress
	ending
	room
}

// Raw is the one supervisor's state. A proxy has one backend.
var Raw Supervisor

// Command is what is to be executed. A uintptr is the address of a string that ends
// with a NUL, or of a list of such.
type Command struct {
	Probe       bool // nothing is
	Path        uintptr
	Argv, Envp  uintptr
	PIDTexts    [4]uintptr // where in the environment the leader's PID belongs
	Dir, Chroot uintptr
	Mask        uint64 // signals that the backend has blocked
	Ignored     uint64 // signals that the backend ignores
	Nofile      Rlimit // if its Max is not 0
	ShareMemory bool   // of the supervisor with the leader, until the exec
}

// Rlimit is struct rlimit64 of prlimit(2).
type Rlimit struct{ Cur, Max uint64 }

// NumCaps bounds the ambient capabilities; capabilities(7) knows 41.
const NumCaps = 64

// Attr is what of syscall.SysProcAttr is applied between fork and exec.
type Attr struct {
	Credential, NoSetGroups      bool
	UID, GID                     uintptr
	Groups                       uintptr // the address of NumGroups 32-bit numbers
	NumGroups                    int
	Caps                         [NumCaps]uint32
	NumCaps                      int
	Setsid                       bool
	Foreground, Setctty, Noctty  bool
	ForegroundFD, Ctty, Unshared int
	CloneFlags                   uintptr
}

// Rules say how a supervisor treats its backend, and what it must know of the host.
type Rules struct {
	GroupOf          int     // process group that the leader joins: its own if 0, none if -1
	GroupInherited   bool    // the leader has its group from the supervisor
	GroupShared      bool    // that group is not the leader's alone
	InitFlags        uintptr // the supervisor is the init of a PID namespace
	Reset            uint64  // signals that may not have their default action
	ForeignProc      bool    // /proc is that of another PID namespace
	ChildrenErrno    uint32  // why processes have no list of their children, or 0
	LeftOut          bool    // Go's memory, of the fork of this process
	Guarded          bool    // a guardian is between the proxy and the supervisor
	KillSignal       uintptr
	KillDeadline     int64 // milliseconds
	Grace            int64 // milliseconds after a forwarded SIGTERM, negative: never
	ParentEndGrace   int64 // milliseconds after the end of the parent, or of the terminal
	EndWithin        int64 // of what is left, by force, in milliseconds; negative: nobody has asked
	SkipKernelSignal bool  // the terminal has signalled the leader itself
	ExitWhenLate     bool
	MirrorStops      bool // when the leader stops, so does the proxy
	ToGroup          bool // signals are for the leader's process group
	NameForced       bool // tell the proxy who had to be killed
	// Rewrite is as what each signal is passed on: itself, another, or 0 for not at all.
	Rewrite [NumSig + 1]uint8
	// Argv0 is where the argument list is whose place the name takes, 0 for nowhere.
	Argv0    uintptr
	Argv0Len int
	// ArgumentsShared: that list is the leader's as well, until its exec.
	ArgumentsShared bool
}

// Files are descriptors, -1 where there is none.
type Files struct {
	Owner, Parent int // poll readable when that process is gone
	Proxy         int // a pidfd
	ProxyPID      int
	Channel       int // to the owner
	Relay         int // siginfo records from the proxy; its end is the proxy's end
	RelayWrite    int
	Mirror        int // to the proxy
	Signals       int // signalfd for SIGCHLD
	children      int // /proc/thread-self/children, -1 until it is opened
	Status        int // the leader's exec: an errno, or the end
	StatusWrite   int
	CgroupFD      int     // of the cgroup that the leader is born in
	ProcsFD       int     // its cgroup.procs, if the leader is to move itself there
	KillFD        int     // its cgroup.kill, -1 before Linux 5.14
	Cgroup        uintptr // its path
	Mapped        int     // ends or has a byte when the user namespace's maps are written
	MappedWrite   int
	Tie           int32 // the pidfd of a supervisor that is tied to it, in this process only
	keep          kept  // those of the above that the supervisor keeps
	MaxFD         int   // none is higher
}

// progress is what has become of things.
type progress struct {
	EndContinues    bool // this process's end continues the proxy, see Fork
	supervisorPID   int
	supervisorPidfd int
	interrupted     bool                 // by the terminal
	signal          int                  // to be passed on, 0 if none
	seen            [realTimeMin]arrival // by signal: the last one that was no repetition
	events          uint8                // seen and not yet handed to the machine: bit n for Event n
	failed          Step
	failedErrno     uint32
	leader          int
	leaderExited    bool
	leaderReported  bool
	announced       bool // the owner knows its status, see announce
	leaderStopped   bool
	stopChanged     bool
	leaderStatus    uint32
	started         bool
	executing       bool // the leader is at its exec; written by the leader
	waitedForEnd    bool
	outlives        bool // when memory runs out, as far as it may
	unreaped        bool // there may be more to wait for
}

// arrival is when a signal came, and of whom.
type arrival struct {
	at     int64
	sender int32
}

// ending is what a supervisor knows about the end of the tree.
type ending struct {
	killing    bool
	killFrom   int64
	late       bool
	graceUntil int64
	forced     uint32
	alive      int  // children who have just been killed and have not ended yet
	unseen     bool // who has ended cannot be seen without reaping
	over       bool // nothing is left to do but to end
}

// room is for what the kernel reads and writes, and for what is to be told together.
type room struct {
	fds        [6]pollFD
	mirrorPoll pollFD
	toOwner    untold
	toProxy    untold
	says       Message // of the leader
	ts         timespec
	act        kernelSigaction
	clone      cloneArgs
	caps       [2]capData
	info       [SiginfoSize / 4]int32
	upNext     [SiginfoSize / 4]int32
	named      [2]Message
	buf        [4096]byte
}

// Clear makes s as it was at first, with no descriptor.
func (s *Supervisor) Clear() {
	*s = Supervisor{}
	s.clear()
}

// clear says of every descriptor that there is none, and of every time.
//
//go:nosplit
//go:norace
func (s *Supervisor) clear() {
	s.Grace, s.ParentEndGrace, s.EndWithin = -1, -1, -1
	s.Owner, s.Parent, s.Proxy, s.Channel, s.Relay, s.RelayWrite, s.Mirror, s.Signals = -1, -1, -1, -1, -1, -1, -1, -1
	s.children, s.Status, s.StatusWrite, s.CgroupFD, s.ProcsFD, s.KillFD, s.Mapped, s.MappedWrite, s.supervisorPidfd = -1, -1, -1, -1, -1, -1, -1, -1, -1
}
