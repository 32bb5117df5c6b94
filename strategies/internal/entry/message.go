package entry

// Message is what owner, proxy and supervisor tell each other once the backend
// has been described: 16 bytes, in the machine's byte order.
type Message struct {
	Op Op
	// A, B and C depend on Op.
	A, B, C uint32
}

// MessageSize is the size of a Message on the channel, in bytes.
const MessageSize = 16

// Op is the kind of a Message.
type Op uint32

// From the proxy to the owner.
const (
	// OpHello: the supervisor executable runs; A is its Version.
	OpHello Op = 1 + iota
	// OpRefused: it will not serve; A is a Refusal, B an errno.
	OpRefused
	// OpTied comes with the pidfd that the supervisor is tied to, see CloneTied.
	OpTied
)

// From the supervisor to the owner and the proxy.
const (
	// OpReady: a probe has everything in place.
	OpReady Op = 16 + iota
	// OpStarted: the leader has exec'd; A is its PID, B the supervisor's.
	OpStarted
	// OpFailed: the leader could not be started; A is the Step, B the errno.
	OpFailed
	// OpLeader: the leader has ended; A is its wait status. It may come before OpStarted, and
	// more than once: the first counts.
	OpLeader
	// OpMirror: the proxy is to end as the leader did; A is the leader's wait
	// status, B a set of MirrorEnds and MirrorInterrupted.
	OpMirror
	// OpForced: a process had to be killed; A is its PID, B and C begin its name.
	// OpForcedName follows with the rest.
	OpForced
	// OpForcedName: A and B are bytes 8 to 15 of the name that OpForced began.
	OpForcedName
	// OpEmpty: no process is left; A counts those that had to be killed, B is 1 if
	// the leader's cgroup is no more or it had none.
	OpEmpty
	// OpLate: the kill deadline has passed and processes are left; A counts those
	// that have been killed.
	OpLate
	// OpStopped: the leader has stopped (A is 1) or continued (A is 0), and the
	// proxy, which cannot be signalled, is to do the same.
	OpStopped
	// OpExecuting: the leader, which does not share memory with the supervisor, is about
	// to exec.
	OpExecuting
	// OpReleased: the owner's end, and what it says, mean nothing any more.
	OpReleased
)

// What B of OpMirror says.
const (
	MirrorEnds        = 1 << iota // the supervisor ends with it
	MirrorInterrupted             // the terminal has sent SIGINT
)

// From the owner to the supervisor.
const (
	// OpSignal: send signal A to the leader.
	OpSignal Op = 32 + iota
	// OpKill: end the tree.
	OpKill
	// OpEndAsked: every process is about to be asked to end.
	OpEndAsked
	// OpRelease: let the tree live on after the owner.
	OpRelease
)

// Step names what was attempted when a start failed.
type Step uint32

// The steps, in order.
const (
	StepNone Step = iota
	StepFork
	StepMaps
	StepProc
	StepBind
	StepSubreaper
	StepChildren
	StepGuard
	StepClone
	StepPdeathsig
	StepSession
	StepGroup
	StepForeground
	StepUnshare
	StepChroot
	StepCredential
	StepCaps
	StepChdir
	StepCtty
	StepExec
)

var stepNames = [...]string{
	StepNone:       "start",
	StepFork:       "fork the supervisor",
	StepMaps:       "wait for the user namespace's ID maps",
	StepProc:       "mount a fresh /proc for the new PID namespace (in a container whose /proc is masked the kernel refuses it)",
	StepBind:       "set the init's parent-death signal",
	StepSubreaper:  "become a child subreaper",
	StepChildren:   "open /proc/thread-self/children (a kernel with CONFIG_PROC_CHILDREN and a /proc mounted for this process's own PID namespace are needed)",
	StepGuard:      "start a backend for an owner that is gone",
	StepClone:      "fork the backend",
	StepPdeathsig:  "set the backend's parent-death signal",
	StepSession:    "setsid",
	StepGroup:      "setpgid",
	StepForeground: "put the backend in the foreground",
	StepUnshare:    "unshare",
	StepChroot:     "chroot",
	StepCredential: "set the backend's credentials",
	StepCaps:       "raise ambient capabilities",
	StepChdir:      "chdir",
	StepCtty:       "set the controlling terminal",
	StepExec:       "exec",
}

// String says what was attempted.
func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return "start"
}

// Refusal says why an executable started as a supervisor will not serve.
type Refusal uint32

// The refusals.
const (
	RefusedSecure Refusal = 1 + iota
	RefusedPeer
	RefusedSpec
	RefusedSetup
)
