package jobobject

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// These are not in golang.org/x/sys/windows, or not in a form that is safe here.
var (
	kernel32                      = windows.NewLazySystemDLL("kernel32.dll")
	procCreateJobObject           = kernel32.NewProc("CreateJobObjectW")
	procOpenJobObject             = kernel32.NewProc("OpenJobObjectW")
	procGetProcessMemoryInfo      = kernel32.NewProc("K32GetProcessMemoryInfo")
	procIsProcessInJob            = kernel32.NewProc("IsProcessInJob")
	procQueryInformationJobObject = kernel32.NewProc("QueryInformationJobObject")
)

// Call calls a function that answers 0 on failure. The directive keeps what the
// arguments point to in place until it returns.
//
//go:uintptrescapes
func Call(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return err
	}
	if ok, _, err := p.Call(args...); ok == 0 {
		return err
	}
	return nil
}

// Create returns a job whose handle children do not inherit (no security
// attributes). A name that is taken is an error: the job would be another's.
func Create(name string) (windows.Handle, error) {
	p, err := namePtr(name)
	if err != nil {
		return 0, err
	}
	if err := procCreateJobObject.Find(); err != nil {
		return 0, err
	}
	r, _, err := procCreateJobObject.Call(0, uintptr(unsafe.Pointer(p)))
	job := windows.Handle(r)
	switch {
	case job == 0:
		return 0, err
	case name != "" && err == windows.ERROR_ALREADY_EXISTS:
		_ = windows.CloseHandle(job)
		return 0, fmt.Errorf("job %q: %w", name, err)
	}
	return job, nil
}

// Open opens a job by its name.
func Open(name string, access uint32) (windows.Handle, error) {
	p, err := namePtr(name)
	if err != nil {
		return 0, err
	}
	if err := procOpenJobObject.Find(); err != nil {
		return 0, err
	}
	r, _, err := procOpenJobObject.Call(uintptr(access), 0, uintptr(unsafe.Pointer(p)))
	if r == 0 {
		return 0, err
	}
	return windows.Handle(r), nil
}

func namePtr(name string) (*uint16, error) {
	if name == "" {
		return nil, nil
	}
	return windows.UTF16PtrFromString(name)
}

// Contains reports whether process is in job, or in any if job is 0.
func Contains(process, job windows.Handle) (bool, error) {
	var in int32
	err := Call(procIsProcessInJob, uintptr(process), uintptr(job), uintptr(unsafe.Pointer(&in)))
	if err != nil {
		return false, fmt.Errorf("IsProcessInJob: %w", err)
	}
	return in != 0, nil
}

// Active returns the number of processes that have not exited.
func Active(job windows.Handle) (uint32, error) {
	var info struct { // JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
		totalUserTime, totalKernelTime           int64
		thisPeriodUserTime, thisPeriodKernelTime int64
		totalPageFaultCount                      uint32
		totalProcesses                           uint32
		activeProcesses                          uint32
		totalTerminatedProcesses                 uint32
	}
	err := Call(procQueryInformationJobObject, uintptr(job), windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), 0)
	return info.activeProcesses, err
}

// ProcessIDs returns the processes in job, those in jobs nested below included.
func ProcessIDs(job windows.Handle) ([]uint32, error) {
	const header = 8 // JOBOBJECT_BASIC_PROCESS_ID_LIST: two counters, then the IDs
	for room := uintptr(16); ; room *= 4 {
		// In words, so that the IDs are aligned.
		buf := make([]uintptr, header/unsafe.Sizeof(uintptr(0))+room)
		err := Call(procQueryInformationJobObject, uintptr(job), windows.JobObjectBasicProcessIdList,
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

// Created returns when a process was created.
func Created(process windows.Handle) (time.Time, error) {
	var creation, exit, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(process, &creation, &exit, &kernel, &user); err != nil {
		return time.Time{}, fmt.Errorf("GetProcessTimes: %w", err)
	}
	return time.Unix(0, creation.Nanoseconds()), nil
}

// ImageName returns the path of a process's program, "" if it cannot be read.
func ImageName(process windows.Handle) string {
	path := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(path))
	if windows.QueryFullProcessImageName(process, 0, &path[0], &size) != nil {
		return ""
	}
	return windows.UTF16ToString(path[:size])
}

// Parents returns the PID of every process's parent, which may have ended and its number
// be another's by now.
func Parents() (map[uint32]uint32, error) {
	table, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, fmt.Errorf("CreateToolhelp32Snapshot: %w", err)
	}
	defer windows.CloseHandle(table)
	parents := make(map[uint32]uint32)
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(table, &entry); err == nil; err = windows.Process32Next(table, &entry) {
		parents[entry.ProcessID] = entry.ParentProcessID
	}
	if err != windows.ERROR_NO_MORE_FILES {
		return nil, fmt.Errorf("Process32Next: %w", err)
	}
	return parents, nil
}

// WorkingSet returns how many bytes of memory a process has, 0 if that cannot be read.
// https://learn.microsoft.com/windows/win32/api/psapi/ns-psapi-process_memory_counters
func WorkingSet(process windows.Handle) uint64 {
	counters := struct {
		size, pageFaults               uint32
		peakWorkingSet, workingSet     uintptr
		peakPagedPool, pagedPool       uintptr
		peakNonPagedPool, nonPagedPool uintptr
		pagefile, peakPagefile         uintptr
	}{}
	counters.size = uint32(unsafe.Sizeof(counters))
	if Call(procGetProcessMemoryInfo, uintptr(process), uintptr(unsafe.Pointer(&counters)), uintptr(counters.size)) != nil {
		return 0
	}
	return uint64(counters.workingSet)
}

// Exited reports whether a process has ended.
func Exited(process windows.Handle) bool {
	event, err := windows.WaitForSingleObject(process, 0)
	return err == nil && event == windows.WAIT_OBJECT_0
}
