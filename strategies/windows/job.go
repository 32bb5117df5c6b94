// Package windows has the containment strategy for Windows: job objects.
//
// # Mechanism
//
// Install puts this process into a job object whose one handle it holds: when
// the process ends, however it ends, the kernel closes the handle and
// terminates every process in the job (JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE). Each
// backend is in a job of its own, nested in that one, from before its first
// instruction: born in it (PROC_THREAD_ATTRIBUTE_JOB_LIST) if it has no context and
// no streams but this process's own, as under contain run; else created
// suspended, assigned, and resumed. What a process in
// a job starts is in the job as well. So the kernel keeps the promise; there is
// no supervisor.
//
// When a backend's leader exits, for whatever reason (its own, Process.Kill, a
// cancelled context), this process terminates the rest of its job, unless
// another registry.LeaderExit was asked for.
//
// # What it does to this process
//
// It stays in the job for its life. A program that it starts by other means may
// leave the job if that is asked for with CREATE_BREAKAWAY_FROM_JOB; backends may
// not. A process in these jobs that has an unhandled exception, this one
// included, ends without the crash dialog, and so without all that Windows Error
// Reporting does (JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION). Nothing binds this process to
// its own parent, so InstallOptions.OutliveParent changes nothing; package
// containment can watch the parent (Config.DieWithParent).
//
// # SysProcAttr
//
// What the caller set is kept. CREATE_SUSPENDED and CREATE_BREAKAWAY_FROM_JOB
// contradict containment and are refused with registry.ErrNotPassed.
//
// # Breakaway
//
// A command that is started with StartOptions.Breakaway is in no job at all, and
// so outlives this process. It does not run until that has been checked: where a
// job around this process's own keeps it, it is ended without having run an
// instruction, and the error wraps errors.ErrUnsupported. Silent breakaway is
// never allowed.
//
// # Signals
//
// Signal(os.Kill) and Kill terminate. Terminate, Signal(os.Interrupt) and
// Signal(syscall.SIGTERM) send CTRL_BREAK, which needs a backend that was started
// with CREATE_NEW_PROCESS_GROUP on this process's console; otherwise Windows has
// no way to ask, and the error wraps errors.ErrUnsupported.
//
// # What was run
//
// The tests run under Wine 10: kill-on-close with the owner terminated, panicking
// and exiting, nesting, breakaway allowed and refused, by this process's job and
// by one around it, birth in a job, each failure on the way into one, and a lost
// message. Not run there, and resting on Microsoft's pages, are CTRL_BREAK, the
// crash dialog, app execution aliases, and the refusal to nest in a job with
// user-interface limits. NtResumeProcess, which lets a suspended backend run, is in
// every Windows since XP and has no page.
//
// # References
//
//   - Job objects: https://learn.microsoft.com/windows/win32/procthread/job-objects
//   - Nested jobs: https://learn.microsoft.com/windows/win32/procthread/nested-jobs
//   - Limits: https://learn.microsoft.com/windows/win32/api/winnt/ns-winnt-jobobject_basic_limit_information
//   - Breakaway: https://learn.microsoft.com/windows/win32/procthread/process-creation-flags
//   - TerminateJobObject: https://learn.microsoft.com/windows/win32/api/jobapi2/nf-jobapi2-terminatejobobject
//   - CTRL_BREAK: https://learn.microsoft.com/windows/console/generateconsolectrlevent
//   - Completion port messages: https://learn.microsoft.com/windows/win32/api/winnt/ns-winnt-jobobject_associate_completion_port
//
// The package describes itself on every operating system; elsewhere than on
// Windows, Install and Probe fail with an error that wraps errors.ErrUnsupported.
package windows

import (
	"context"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// JobName is the name of the strategy that Job returns.
const JobName = "windows/job"

type strategy struct{}

// Job returns the job object strategy.
func Job() registry.Strategy { return strategy{} }

func init() { registry.Default().MustRegister(Job()) }

// Describe implements registry.Strategy.
func (strategy) Describe() registry.Description {
	return registry.Description{
		Name:     JobName,
		Platform: registry.PlatformWindows,
		Summary:  "every backend in its own kill-on-close job object, nested in that of the service",
		Target:   registry.CleanupWindowsKillOnJobClose,
		// There is no supervisor, so the end of both is the end of the owner, and
		// supervisor-killed cannot occur.
		Guarantees: []registry.Guarantee{
			{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
			{Event: registry.EventBothKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
			// Kept by the owner itself; if that dies as well, by the kernel.
			{Event: registry.EventLeaderExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerSupervisor, Within: registry.SupervisorKillDeadline},
			{Event: registry.EventOwnerExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second},
		},
		Requires: []string{
			"Windows 8 or Windows Server 2012, where jobs nest",
			"no enclosing job with user-interface limits, in which jobs do not nest",
		},
		Limits: []string{
			"a process that something else starts on request was never inside: WMI, the task scheduler, services, COM servers, remote execution, and the Linux processes of wsl.exe, which outlive it",
			"a packaged program (MSIX: from the Store or by winget, such as the Store's python.exe) runs outside of the job: as a backend it is refused, but for Breakaway, and one that a backend starts is outside",
			"a process created with another parent (PROC_THREAD_ATTRIBUTE_PARENT_PROCESS) is in that parent's job: a backend that may open a process outside can start a child there",
			"breakaway is refused to backends (access denied); a service that is killed while it starts a command with Breakaway can leave one suspended process that has run no instruction; what the service itself starts by other means may leave with CREATE_BREAKAWAY_FROM_JOB",
			"whoever duplicates a job's handle out of this process keeps that job alive",
			"a process with input or output that a driver does not complete ends late",
			"with on-leader-exit leave, what is left stays in the service's job, since membership is for life, and ends with the service",
			"with on-leader-exit wait, Process.Kill on the leader cannot be told from exit code 1 and leaves the rest running; a cancelled context ends it",
			"where the service is in a job already and could not be put into its own (windows-already-in-job), or with SysProcAttr.ParentProcess, a service that is killed while it starts a backend with a context or with streams of its own can leave one suspended process that has run no instruction",
			"a process in these jobs, the service included, ends at an unhandled exception without Windows Error Reporting: no dialog, no crash dump (LocalDumps), no just-in-time debugger",
			"there is no graceful end but CTRL_BREAK, for backends with CREATE_NEW_PROCESS_GROUP on the service's console",
			"the service itself is not bound to its parent",
		},
	}
}

// Target implements registry.Strategy.
func (s strategy) Target() registry.Cleanup { return s.Describe().Target }

// Install implements registry.Strategy. The effect on this process is shared by
// all installations and stays.
func (strategy) Install(ctx context.Context, _ registry.InstallOptions) (registry.Installation, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("install", err)
	}
	return install()
}

// Probe implements registry.Prober: it makes a job as Install would, and
// discards it.
func (strategy) Probe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return failed("probe", err)
	}
	return probe()
}

func failed(op string, err error) error {
	return &registry.Error{Op: op, Strategy: JobName, Err: err}
}
