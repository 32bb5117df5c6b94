package linux

import (
	"time"

	"github.com/seed329817d7/contain/registry"
)

// PdeathsigName is the name of the strategy that [Pdeathsig] returns.
const PdeathsigName = "linux/pdeathsig"

type pdeathsig struct{}

// Pdeathsig returns the strategy linux/pdeathsig: reach child, by the kernel.
//
// A parent-death signal fires when the thread that forked the child exits, and
// nothing in it tells that from the process's death. So every backend is forked
// by one OS thread that lives as long as this process. That thread has the
// namespaces, credentials, root and working directory that the process has;
// Start refuses a caller whose own thread has others (runtime.LockOSThread and
// unshare, setns or a raw setuid), since its backend would not be born in them.
//
// SysProcAttr is passed as it is, but for Pdeathsig, which must be 0 or SIGKILL.
func Pdeathsig() registry.Strategy { return pdeathsig{} }

// Describe implements [registry.Strategy].
func (pdeathsig) Describe() registry.Description {
	return registry.Description{
		Name:     PdeathsigName,
		Platform: registry.PlatformLinux,
		Summary:  "Each backend is forked with a SIGKILL parent-death signal by a thread that lives as long as this process.",
		Target:   registry.CleanupLinuxParentDeathSignal,
		Guarantees: []registry.Guarantee{
			{Event: registry.EventOwnerKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventOwnerExit, Reach: registry.ReachChild, Enforcer: registry.EnforcerKernel, Within: time.Second},
		},
		Requires: []string{"Linux, with /proc mounted"},
		Limits: append([]string{
			"only the backend's first process is reached: what it starts lives on",
			"the backend's parent-death signal is cleared when it executes a setuid, setgid or file-capability program or changes its uid, gid or capabilities",
			"the kernel checks permission when it delivers the signal: a backend under another uid survives an owner that has dropped the right to signal it",
		}, bindLimits...),
	}
}

// Target implements [registry.Strategy].
func (pdeathsig) Target() registry.Cleanup { return registry.CleanupLinuxParentDeathSignal }
