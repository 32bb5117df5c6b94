package supervisor

import "github.com/seed329817d7/contain/strategies/internal/entry"

// What the program of package entry and its owner share. That package imports nothing;
// everybody else has these names from here.
type (
	LeaderExit = entry.LeaderExit
	Machine    = entry.Machine
	Event      = entry.Event
	Action     = entry.Action
	Message    = entry.Message
	Op         = entry.Op
	Step       = entry.Step
	Refusal    = entry.Refusal
)

// See package entry.
const (
	LeaderExitKill  = entry.LeaderExitKill
	LeaderExitWait  = entry.LeaderExitWait
	LeaderExitLeave = entry.LeaderExitLeave

	EndAsked        = entry.EndAsked
	OwnerGone       = entry.OwnerGone
	ProxyGone       = entry.ProxyGone
	StopOrdered     = entry.StopOrdered
	LeaderExited    = entry.LeaderExited
	LeaderSIGKILLed = entry.LeaderSIGKILLed
	Empty           = entry.Empty
	DeadlinePassed  = entry.DeadlinePassed

	Kill       = entry.Kill
	Mirror     = entry.Mirror
	Report     = entry.Report
	ReportLate = entry.ReportLate
	Exit       = entry.Exit

	MessageSize  = entry.MessageSize
	OpHello      = entry.OpHello
	OpRefused    = entry.OpRefused
	OpTied       = entry.OpTied
	OpReady      = entry.OpReady
	OpStarted    = entry.OpStarted
	OpFailed     = entry.OpFailed
	OpLeader     = entry.OpLeader
	OpMirror     = entry.OpMirror
	OpForced     = entry.OpForced
	OpEmpty      = entry.OpEmpty
	OpLate       = entry.OpLate
	OpStopped    = entry.OpStopped
	OpSignal     = entry.OpSignal
	OpKill       = entry.OpKill
	OpEndAsked   = entry.OpEndAsked
	OpRelease    = entry.OpRelease
	OpReleased   = entry.OpReleased
	StepNone     = entry.StepNone
	StepFork     = entry.StepFork
	StepMaps     = entry.StepMaps
	StepProc     = entry.StepProc
	StepBind     = entry.StepBind
	StepGuard    = entry.StepGuard
	StepClone    = entry.StepClone
	StepExec     = entry.StepExec
	MirrorEnds   = entry.MirrorEnds
	RefusedPeer  = entry.RefusedPeer
	RefusedSpec  = entry.RefusedSpec
	RefusedSetup = entry.RefusedSetup

	RefusedSecure     = entry.RefusedSecure
	MirrorInterrupted = entry.MirrorInterrupted
)
