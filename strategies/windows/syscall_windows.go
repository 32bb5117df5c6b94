package windows

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// These are not in golang.org/x/sys/windows, or not in a form that is safe here.
var (
	kernel32                      = windows.NewLazySystemDLL("kernel32.dll")
	procGetConsoleProcessList     = kernel32.NewProc("GetConsoleProcessList")
	procGetQueuedCompletionStatus = kernel32.NewProc("GetQueuedCompletionStatus")
	procIsProcessInJob            = kernel32.NewProc("IsProcessInJob")
	procQueryInformationJobObject = kernel32.NewProc("QueryInformationJobObject")
	procSetInformationJobObject   = kernel32.NewProc("SetInformationJobObject")

	// NtResumeProcess is exported by every Windows since XP, and not documented by
	// Microsoft. The documented way, a snapshot of all threads of the system and
	// ResumeThread on those of the process, costs in proportion to the system's
	// threads at each start; os/exec does not keep the thread's handle.
	procNtResumeProcess = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtResumeProcess")
)

// system is the calls whose failure matters. Tests replace single ones.
type system struct {
	createJob func() (windows.Handle, error)
	setLimits func(job windows.Handle, limits uint32) error
	setPort   func(job windows.Handle, key uintptr, port windows.Handle) error
	assign    func(job, process windows.Handle) error
	inJob     func(process, job windows.Handle) (bool, error)
	resumable func() error
	resume    func(process windows.Handle) error
	terminate func(job windows.Handle, exitCode uint32) error

	hasConsole func() error
	ctrlEvent  func(event, group uint32) error
}

var sys = system{
	createJob: func() (windows.Handle, error) { return windows.CreateJobObject(nil, nil) },
	setLimits: setLimits,
	setPort:   setPort,
	assign:    windows.AssignProcessToJobObject,
	inJob:     inJob,
	resumable: procNtResumeProcess.Find,
	resume:    resume,
	terminate: windows.TerminateJobObject,

	hasConsole: hasConsole,
	ctrlEvent:  windows.GenerateConsoleCtrlEvent,
}

// call calls a function that answers 0 on failure. The directive keeps what the
// arguments point to in place until it returns.
//
//go:uintptrescapes
func call(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return err
	}
	if ok, _, err := p.Call(args...); ok == 0 {
		return err
	}
	return nil
}

// setLimits sets the whole limit structure: no other limit is in force.
func setLimits(job windows.Handle, limits uint32) error {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = limits
	return call(procSetInformationJobObject, uintptr(job), windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info))
}

// setPort sends the job's messages to port; 0 ends that.
func setPort(job windows.Handle, key uintptr, port windows.Handle) error {
	info := struct { // JOBOBJECT_ASSOCIATE_COMPLETION_PORT
		key  uintptr
		port windows.Handle
	}{key, port}
	return call(procSetInformationJobObject, uintptr(job), windows.JobObjectAssociateCompletionPortInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info))
}

// inJob reports whether process is in job, or in any if job is 0.
func inJob(process, job windows.Handle) (bool, error) {
	var in int32
	err := call(procIsProcessInJob, uintptr(process), uintptr(job), uintptr(unsafe.Pointer(&in)))
	return in != 0, err
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

// activeProcesses returns the number of processes that have not exited.
func activeProcesses(job windows.Handle) (uint32, error) {
	var info struct { // JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
		totalUserTime, totalKernelTime           int64
		thisPeriodUserTime, thisPeriodKernelTime int64
		totalPageFaultCount                      uint32
		totalProcesses                           uint32
		activeProcesses                          uint32
		totalTerminatedProcesses                 uint32
	}
	err := call(procQueryInformationJobObject, uintptr(job), windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), 0)
	return info.activeProcesses, err
}

// processIDs returns the processes in job, those in jobs nested below included.
func processIDs(job windows.Handle) ([]uint32, error) {
	const header = 8 // JOBOBJECT_BASIC_PROCESS_ID_LIST: two counters, then the IDs
	for room := uintptr(16); ; room *= 4 {
		// In words, so that the IDs are aligned.
		buf := make([]uintptr, header/unsafe.Sizeof(uintptr(0))+room)
		err := call(procQueryInformationJobObject, uintptr(job), windows.JobObjectBasicProcessIdList,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))*unsafe.Sizeof(buf[0]), 0)
		if err == windows.ERROR_MORE_DATA {
			continue
		}
		if err != nil {
			return nil, err
		}
		listed := (*[2]uint32)(unsafe.Pointer(&buf[0]))[1]
		ids := make([]uint32, 0, listed)
		for _, id := range buf[header/unsafe.Sizeof(buf[0]):][:listed] {
			ids = append(ids, uint32(id))
		}
		return ids, nil
	}
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
	err := call(procGetQueuedCompletionStatus, uintptr(port), uintptr(unsafe.Pointer(&m.kind)),
		uintptr(unsafe.Pointer(&m.key)), uintptr(unsafe.Pointer(&m.pid)), uintptr(max(0, patience.Milliseconds())))
	return m, err
}

// hasConsole fails if this process has no console.
func hasConsole() error {
	var one uint32
	return call(procGetConsoleProcessList, uintptr(unsafe.Pointer(&one)), 1)
}

func exited(process windows.Handle) bool {
	event, err := windows.WaitForSingleObject(process, 0)
	return err == nil && event == windows.WAIT_OBJECT_0
}
