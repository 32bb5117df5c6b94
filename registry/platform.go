package registry

import "runtime"

// Platform is an operating system as Go names it (GOOS), or [PlatformAny].
type Platform string

// The platforms that have strategies of their own.
const (
	PlatformLinux   Platform = "linux"
	PlatformWindows Platform = "windows"
	PlatformDarwin  Platform = "darwin"
	// PlatformAny marks a strategy that applies wherever the program runs.
	PlatformAny Platform = "any"
)

// CurrentPlatform returns the platform that this program was built for.
func CurrentPlatform() Platform { return Platform(runtime.GOOS) }

// Includes reports whether a strategy for platform p applies on platform host.
func (p Platform) Includes(host Platform) bool { return p == PlatformAny || p == host }

// Cleanup names what binds this process, the owner, itself: what ends it, or
// ends what it started, when it or its parent goes. What becomes of backends is
// said by [Guarantee] instead. Third parties may add values.
type Cleanup string

// The cleanups of the strategies in this module.
const (
	// CleanupLinuxParentDeathSignal: PR_SET_PDEATHSIG is SIGTERM for this
	// process, see PR_SET_PDEATHSIG(2const).
	CleanupLinuxParentDeathSignal Cleanup = "linux-parent-death-signal"
	// CleanupWindowsKillOnJobClose: this process is in a job object with
	// JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE and breakaway-ok whose one handle it holds.
	CleanupWindowsKillOnJobClose Cleanup = "windows-kill-on-job-close"
	// CleanupWindowsAlreadyInJob: assignment was refused with access-denied
	// because this process is in a job already. It counts as a success.
	CleanupWindowsAlreadyInJob Cleanup = "windows-already-in-job"
	// CleanupMacOSKqueueSupervisorContract: backends are started under the
	// supervisor contract of [BrokerContract].
	CleanupMacOSKqueueSupervisorContract Cleanup = "macos-kqueue-supervisor-contract"
	// CleanupUnsupportedNoop: nothing is in force.
	CleanupUnsupportedNoop Cleanup = "unsupported-noop"
	// CleanupUnbound: this process was asked to outlive its parent
	// ([InstallOptions].OutliveParent).
	CleanupUnbound Cleanup = "unbound"
)
