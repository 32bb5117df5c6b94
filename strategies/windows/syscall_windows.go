package windows

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

// These are not in golang.org/x/sys/windows, or not in a form that is safe here.
var (
	kernel32                      = windows.NewLazySystemDLL("kernel32.dll")
	procGetConsoleProcessList     = kernel32.NewProc("GetConsoleProcessList")
	procGetQueuedCompletionStatus = kernel32.NewProc("GetQueuedCompletionStatus")
	procSetInformationJobObject   = kernel32.NewProc("SetInformationJobObject")

	// NtResumeProcess is exported by every Windows since XP, and not documented by
	// Microsoft. The documented way, a snapshot of all threads of the system and
	// ResumeThread on those of the process, costs in proportion to the system's
	// threads at each start; os/exec does not keep the thread's handle.
	procNtResumeProcess = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtResumeProcess")
)

// system is the calls whose failure matters. Tests replace single ones.
type system struct {
	createJob func(name string) (windows.Handle, error)
	setLimits func(job windows.Handle, limits uint32) error
	setPort   func(job windows.Handle, key uintptr, port windows.Handle) error
	assign    func(job, process windows.Handle) error
	inJob     func(process, job windows.Handle) (bool, error)
	resumable func() error
	resume    func(process windows.Handle) error
	terminate func(job windows.Handle, exitCode uint32) error

	reparseTag    func(path string) uint32
	createProcess func(path, commandLine *uint16, process, thread *windows.SecurityAttributes, inherit bool, flags uint32, env, dir *uint16, si *windows.StartupInfo, made *windows.ProcessInformation) error

	hasConsole func() error
	ctrlEvent  func(event, group uint32) error
}

var sys = system{
	createJob: jobobject.Create,
	setLimits: setLimits,
	setPort:   setPort,
	assign:    windows.AssignProcessToJobObject,
	inJob:     jobobject.Contains,
	resumable: procNtResumeProcess.Find,
	resume:    resume,
	terminate: windows.TerminateJobObject,

	reparseTag:    reparseTag,
	createProcess: windows.CreateProcess,

	hasConsole: hasConsole,
	ctrlEvent:  windows.GenerateConsoleCtrlEvent,
}

// setLimits sets the whole limit structure: no other limit is in force.
func setLimits(job windows.Handle, limits uint32) error {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = limits
	return jobobject.Call(procSetInformationJobObject, uintptr(job), windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info))
}

// setPort sends the job's messages to port; 0 ends that.
func setPort(job windows.Handle, key uintptr, port windows.Handle) error {
	info := struct { // JOBOBJECT_ASSOCIATE_COMPLETION_PORT
		key  uintptr
		port windows.Handle
	}{key, port}
	return jobobject.Call(procSetInformationJobObject, uintptr(job), windows.JobObjectAssociateCompletionPortInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info))
}

// resume lets every thread of a process that was created suspended run.
func resume(process windows.Handle) error {
	if err := procNtResumeProcess.Find(); err != nil {
		return err
	}
	status, _, _ := procNtResumeProcess.Call(uintptr(process))
	if uint32(status) != 0 {
		return windows.NTStatus(status).Errno()
	}
	return nil
}

// message is what a job sends to its completion port.
type message struct {
	key  uintptr
	kind uint32
	pid  uintptr
}

// exit reports whether the message says that process pid has ended.
func (m message) exit() bool {
	const exitProcess, abnormalExitProcess = 7, 8 // JOB_OBJECT_MSG_…
	return m.kind == exitProcess || m.kind == abnormalExitProcess
}

// receive waits for the next message. A job puts a process ID where
// x/sys/windows has a pointer, which Go must not see as one.
func receive(port windows.Handle, patience time.Duration) (message, error) {
	var m message
	err := jobobject.Call(procGetQueuedCompletionStatus, uintptr(port), uintptr(unsafe.Pointer(&m.kind)),
		uintptr(unsafe.Pointer(&m.key)), uintptr(unsafe.Pointer(&m.pid)), uintptr(max(0, patience.Milliseconds())))
	return m, err
}

// hasConsole fails if this process has no console.
func hasConsole() error {
	var one uint32
	return jobobject.Call(procGetConsoleProcessList, uintptr(unsafe.Pointer(&one)), 1)
}
