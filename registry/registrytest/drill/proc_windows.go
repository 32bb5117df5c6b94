package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// supported says why no drill can run here, or nil.
func supported() error { return nil }

// room is how many more processes may be started. Windows has no limit that a
// process could ask for: a job's own is enforced when it is reached.
func room() int { return 1000 }

// proc is a process that a drill has started: a handle, which is signalled when
// the process has exited.
type proc struct {
	pid    int
	shape  string
	nonce  string
	handle windows.Handle
}

// access is what a drill does with a process: wait, end, ask when it was born.
const access = windows.SYNCHRONIZE | windows.PROCESS_TERMINATE | windows.PROCESS_QUERY_LIMITED_INFORMATION

// openProc identifies the process that has sent a report. A PID is used again
// soon on Windows, so the process must have been born when the sender was. One
// that has gone already is no error and no process.
func openProc(m message, nonce string) (*proc, error) {
	h, err := windows.OpenProcess(access, false, uint32(m.pid))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) { // there is no such process
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("identify process %d (%s): %w", m.pid, m.shape, os.NewSyscallError("OpenProcess", err))
	}
	p := &proc{m.pid, m.shape, nonce, h}
	since, err := bornOf(h)
	if err != nil || since != m.born || p.gone() {
		p.close()
		return nil, err
	}
	return p, nil
}

// born is when this process was, in 100 ns since 1601, GetProcessTimes.
func born() uint64 {
	since, err := bornOf(windows.CurrentProcess())
	check("ask when this process was born", err)
	return since
}

func bornOf(h windows.Handle) (uint64, error) {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return 0, os.NewSyscallError("GetProcessTimes", err)
	}
	return uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime), nil
}

func (p *proc) close() { _ = windows.CloseHandle(p.handle) }

func (p *proc) gone() bool { return signalled(p.handle, 0) }

// signalled waits for an object, and reports whether that has happened in time.
func signalled(h windows.Handle, d time.Duration) bool {
	event, err := windows.WaitForSingleObject(h, uint32(d.Milliseconds()))
	return err == nil && event == windows.WAIT_OBJECT_0
}

// kill is what a SIGKILL is elsewhere. A process that is ending refuses access.
func (p *proc) kill() error {
	err := windows.TerminateProcess(p.handle, 1)
	if err == nil || signalled(p.handle, time.Second) {
		return nil
	}
	return fmt.Errorf("end process %d (%s): %w", p.pid, p.shape, os.NewSyscallError("TerminateProcess", err))
}

// leave has a leader exit by itself.
func (p *proc) leave() error {
	name, err := leaveEvent(p.nonce)
	if err != nil {
		return err
	}
	h, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, name)
	if err != nil {
		return fmt.Errorf("tell the leader to exit: %w", os.NewSyscallError("OpenEvent", err))
	}
	defer func() { _ = windows.CloseHandle(h) }()
	return os.NewSyscallError("SetEvent", windows.SetEvent(h))
}

// leaveEvent is the name of the event at which a drill's leader exits by itself.
func leaveEvent(nonce string) (*uint16, error) { return windows.UTF16PtrFromString("contain-" + nonce) }

// pause fails: Windows has no call to stop a process, and no drill here asks for it.
func (p *proc) pause() error {
	return fmt.Errorf("stop process %d (%s): %w on Windows", p.pid, p.shape, errors.ErrUnsupported)
}

// continueAll has nobody to wake up.
func continueAll([]*proc) {}

// alive waits until ps are gone, and returns those that are not at the end.
func alive(ctx context.Context, ps []*proc, until time.Time) []*proc {
	left := append([]*proc(nil), ps...)
	for len(left) > 0 {
		first := min(max(time.Until(until), 0), 10*time.Millisecond)
		var still []*proc
		for _, p := range left {
			if !signalled(p.handle, first) {
				still = append(still, p)
				first = 0
			}
		}
		left = still
		if ctx.Err() != nil || !time.Now().Before(until) {
			break
		}
	}
	return left
}

// census finds those alive that have not reported themselves: whose parent has,
// directly or by way of others that are found here. Its handle keeps the parent's
// PID from being used again, and a child is born later than its parent.
func (st *stage) census(bool) []*proc {
	st.mu.Lock()
	known := map[uint32]uint64{}
	for _, p := range append([]*proc{st.owner, st.relay}, st.members...) {
		if p != nil {
			known[uint32(p.pid)], _ = bornOf(p.handle)
		}
	}
	st.mu.Unlock()
	var found []*proc
	for more := true; more; {
		more = false
		for _, e := range table() {
			parent, ours := known[e.ParentProcessID]
			if _, seen := known[e.ProcessID]; seen || !ours {
				continue
			}
			p, err := openChild(e.ProcessID, parent)
			if err != nil || p == nil {
				continue
			}
			known[e.ProcessID], _ = bornOf(p.handle)
			found, more = append(found, p), true
		}
	}
	return found
}

// openChild opens a process that lives and was born after its parent.
func openChild(pid uint32, parent uint64) (*proc, error) {
	h, err := windows.OpenProcess(access, false, pid)
	if err != nil {
		return nil, err
	}
	p := &proc{pid: int(pid), shape: "unreported", handle: h}
	since, err := bornOf(h)
	if err != nil || since < parent || p.gone() {
		p.close()
		return nil, err
	}
	return p, nil
}

// table is a reading of the process table.
func table() (entries []windows.ProcessEntry32) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil
	}
	defer func() { _ = windows.CloseHandle(snapshot) }()
	e := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &e); err == nil; err = windows.Process32Next(snapshot, &e) {
		entries = append(entries, e)
	}
	return entries
}

// supervisors finds none: a job is the kernel's.
func supervisors(*proc) ([]*proc, error) { return nil, nil }
