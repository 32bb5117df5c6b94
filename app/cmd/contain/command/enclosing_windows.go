package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	job "github.com/seed329817d7/contain/strategies/windows"
)

// What enclosingJob.Breakaway says.
const (
	breakawayAllowed = "allowed"
	breakawayRefused = "refused"
	breakawayUnknown = "unknown"
)

// jobLimits are the flags of JOBOBJECT_BASIC_LIMIT_INFORMATION.
// https://learn.microsoft.com/windows/win32/api/winnt/ns-winnt-jobobject_basic_limit_information
var jobLimits = []struct {
	flag uint32
	name string
}{
	{windows.JOB_OBJECT_LIMIT_WORKINGSET, "JOB_OBJECT_LIMIT_WORKINGSET"},
	{windows.JOB_OBJECT_LIMIT_PROCESS_TIME, "JOB_OBJECT_LIMIT_PROCESS_TIME"},
	{windows.JOB_OBJECT_LIMIT_JOB_TIME, "JOB_OBJECT_LIMIT_JOB_TIME"},
	{windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS, "JOB_OBJECT_LIMIT_ACTIVE_PROCESS"},
	{windows.JOB_OBJECT_LIMIT_AFFINITY, "JOB_OBJECT_LIMIT_AFFINITY"},
	{windows.JOB_OBJECT_LIMIT_PRIORITY_CLASS, "JOB_OBJECT_LIMIT_PRIORITY_CLASS"},
	{windows.JOB_OBJECT_LIMIT_PRESERVE_JOB_TIME, "JOB_OBJECT_LIMIT_PRESERVE_JOB_TIME"},
	{windows.JOB_OBJECT_LIMIT_SCHEDULING_CLASS, "JOB_OBJECT_LIMIT_SCHEDULING_CLASS"},
	{windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY, "JOB_OBJECT_LIMIT_PROCESS_MEMORY"},
	{windows.JOB_OBJECT_LIMIT_JOB_MEMORY, "JOB_OBJECT_LIMIT_JOB_MEMORY"},
	{windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, "JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION"},
	{windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK, "JOB_OBJECT_LIMIT_BREAKAWAY_OK"},
	{windows.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK, "JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK"},
	{windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, "JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE"},
	{windows.JOB_OBJECT_LIMIT_SUBSET_AFFINITY, "JOB_OBJECT_LIMIT_SUBSET_AFFINITY"},
}

// findEnclosing looks at the jobs that this process was started in.
func findEnclosing() *enclosingJob {
	e := &enclosingJob{Breakaway: breakawayUnknown, Limits: []string{}}
	in, err := job.InAnyJob(windows.CurrentProcess())
	if err != nil {
		e.Reason = err.Error()
		return e
	}
	e.InJob = in
	if !in {
		e.Breakaway, e.LimitsKnown = breakawayAllowed, true
		return e
	}
	var reasons []error
	if e.Breakaway, err = tryBreakaway(); err != nil {
		reasons = append(reasons, err)
	}
	if e.Limits, err = ownLimits(); err != nil {
		e.Limits = []string{}
		reasons = append(reasons, err)
	}
	e.LimitsKnown = err == nil
	for i, err := range reasons {
		if i > 0 {
			e.Reason += "; "
		}
		e.Reason += err.Error()
	}
	return e
}

// ownLimits returns the limits of the innermost job of this process.
func ownLimits() ([]string, error) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		return nil, errors.New("the limits of a job read as zeros under Wine")
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if err := windows.QueryInformationJobObject(0, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil); err != nil {
		return nil, fmt.Errorf("QueryInformationJobObject: %w", err)
	}
	return limitNames(info.BasicLimitInformation.LimitFlags), nil
}

func limitNames(flags uint32) []string {
	names := []string{}
	for _, l := range jobLimits {
		if flags&l.flag != 0 {
			names = append(names, l.name)
			flags &^= l.flag
		}
	}
	if flags != 0 {
		names = append(names, fmt.Sprintf("%#x", flags))
	}
	return names
}

// tryBreakaway creates this program again with CREATE_BREAKAWAY_FROM_JOB, and
// ends it without having let it run.
func tryBreakaway() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return breakawayUnknown, err
	}
	cmd := exec.Command(self)
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_BREAKAWAY_FROM_JOB | windows.CREATE_NO_WINDOW}
	err = cmd.Start()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return breakawayRefused, nil
	}
	if err != nil {
		return breakawayUnknown, fmt.Errorf("try to break away: %w", err)
	}
	var in bool
	handleErr := cmd.Process.WithHandle(func(h uintptr) { in, err = job.InAnyJob(windows.Handle(h)) })
	killErr := cmd.Process.Kill()
	if killErr == nil {
		_ = cmd.Wait() // its error says that we killed it
	}
	if err := errors.Join(err, handleErr, killErr); err != nil {
		return breakawayUnknown, fmt.Errorf("try to break away: %w", err)
	}
	if in { // a job further out keeps it
		return breakawayRefused, nil
	}
	return breakawayAllowed, nil
}
