package containment

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// errNoParent: under Wine, the process that a Unix program started has none.
var errNoParent = errors.New("this process has no parent process (its PID is 0)")

var errParentGone = errors.New("the parent process has ended already; start this process from one that lives, or do not ask to die with it")

// parentExitCode is what a process that ends because its parent did exits with.
const parentExitCode = 1

// parentGone returns a channel that is closed when this process's parent has
// ended, if that is wanted, and watches until over is closed. It is nil where
// there is no parent that could end.
func parentGone(wanted bool, over <-chan struct{}) (<-chan struct{}, error) {
	if !wanted {
		return nil, nil
	}
	gone, err := watchParent(over)
	if errors.Is(err, errNoParent) {
		return nil, nil
	}
	return gone, err
}

func watchParent(over <-chan struct{}) (<-chan struct{}, error) {
	parent, err := openParent()
	if err != nil {
		return nil, err
	}
	stop, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		_ = windows.CloseHandle(parent)
		return nil, fmt.Errorf("watch the parent process: CreateEvent: %w", err)
	}
	gone, waited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(waited)
		event, err := windows.WaitForMultipleObjects([]windows.Handle{parent, stop}, false, windows.INFINITE)
		if err != nil || event != windows.WAIT_OBJECT_0+1 { // a wait that fails counts as the end
			close(gone)
		}
	}()
	go func() {
		select {
		case <-over:
			_ = windows.SetEvent(stop)
		case <-waited:
		}
		<-waited
		_ = windows.CloseHandle(stop)
		_ = windows.CloseHandle(parent)
	}()
	return gone, nil
}

// openParent returns a handle of the process that started this one. Windows
// keeps only its PID, which may be another's by now: a process that was created
// later than this one cannot be the parent.
// https://learn.microsoft.com/windows/win32/api/tlhelp32/ns-tlhelp32-processentry32
func openParent() (windows.Handle, error) {
	pid := os.Getppid()
	if pid == 0 {
		return 0, errNoParent
	}
	if pid < 0 {
		return 0, errors.New("the parent process is not known (CreateToolhelp32Snapshot)")
	}
	h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	switch {
	case errors.Is(err, windows.ERROR_INVALID_PARAMETER): // no process has that PID
		return 0, fmt.Errorf("%w (OpenProcess %d: %w)", errParentGone, pid, err)
	case errors.Is(err, windows.ERROR_ACCESS_DENIED): // services.exe, for one
		return 0, fmt.Errorf("%w: OpenProcess %d: %w", ErrParentNotWatched, pid, err)
	case err != nil:
		return 0, fmt.Errorf("open the parent process, PID %d, to watch it: %w", pid, err)
	}
	if err := isParent(h); err != nil {
		_ = windows.CloseHandle(h)
		return 0, fmt.Errorf("PID %d: %w", pid, err)
	}
	return h, nil
}

func isParent(h windows.Handle) error {
	later, err := createdLater(h, windows.CurrentProcess())
	if err == nil && later {
		err = fmt.Errorf("%w; a process that was created later has its PID", errParentGone)
	}
	return err
}

// createdLater reports whether the process a was created after b. Creation times
// are those of a clock that may be set back, and too coarse to tell all processes
// apart, so that they only decide where there are no sequence numbers.
func createdLater(a, b windows.Handle) (bool, error) {
	numberA, errA := sequenceNumber(a)
	numberB, errB := sequenceNumber(b)
	if errA == nil && errB == nil {
		return numberA > numberB, nil
	}
	timeA, err := created(a)
	if err != nil {
		return false, err
	}
	timeB, err := created(b)
	return timeA > timeB, err
}

// sequenceNumber returns the number of a process, which are counted since boot.
// Windows 10 has it, Wine 10 has not. It is a variable for tests.
var sequenceNumber = func(h windows.Handle) (n uint64, err error) {
	err = windows.NtQueryInformationProcess(h, windows.ProcessSequenceNumber, unsafe.Pointer(&n), uint32(unsafe.Sizeof(n)), nil)
	return n, err
}

// created returns when a process was created, in nanoseconds. It is a variable
// for tests.
var created = func(h windows.Handle) (int64, error) {
	var creation, exit, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &creation, &exit, &kernel, &user); err != nil {
		return 0, fmt.Errorf("GetProcessTimes: %w", err)
	}
	return creation.Nanoseconds(), nil
}

// terminateSelf is not os.Exit: what hangs at the end of a process, a DLL's detach for one,
// must not keep this one.
func terminateSelf() {
	_ = windows.TerminateProcess(windows.CurrentProcess(), parentExitCode)
}

// endSelf returns what terminates this process.
func endSelf(sig os.Signal) (func(), error) {
	if sig != nil {
		return nil, fmt.Errorf("ParentOptions.Signal is %v; Windows has no signals, leave it nil: %w", sig, errors.ErrUnsupported)
	}
	return terminateSelf, nil
}
