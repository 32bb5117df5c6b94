package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

// The rights on a job and on a directory of objects that golang.org/x/sys lacks,
// winnt.h and wdm.h.
const (
	jobQuery       = 0x4 // JOB_OBJECT_QUERY
	jobTerminate   = 0x8 // JOB_OBJECT_TERMINATE
	directoryQuery = 0x1 // DIRECTORY_QUERY
)

// killedExitCode is what os.Process.Kill gives a process as well.
const killedExitCode = 1

// again is how often a job that is to end is looked at.
const again = 10 * time.Millisecond

var (
	ntdll                      = windows.NewLazySystemDLL("ntdll.dll")
	procNtOpenDirectoryObject  = ntdll.NewProc("NtOpenDirectoryObject")
	procNtQueryDirectoryObject = ntdll.NewProc("NtQueryDirectoryObject")
)

// A namespace is where the jobs of a session have their names.
type namespace struct {
	directory string // of the object manager
	prefix    string // by which the Windows API names what is in it
}

// namespaces returns those of this session, and of the services (session 0).
// https://learn.microsoft.com/windows/win32/termserv/kernel-object-namespaces
func namespaces() ([]namespace, error) {
	var session uint32
	if err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &session); err != nil {
		return nil, fmt.Errorf("ProcessIdToSessionId: %w", err)
	}
	all := []namespace{{`\BaseNamedObjects`, `Global\`}}
	if session != 0 {
		all = append(all, namespace{fmt.Sprintf(`\Sessions\%d\BaseNamedObjects`, session), `Local\`})
	}
	return all, nil
}

// list finds the jobs by their names. Whoever may name an object may forge one,
// but only for processes of its own: a job holds none that its maker may not end.
func list() ([]Containment, error) {
	spaces, err := namespaces()
	if err != nil {
		return nil, err
	}
	var found []Containment
	seen := make(map[string]bool) // a namespace may be a link to the other
	for _, space := range spaces {
		names, err := jobNames(space.directory)
		if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			continue // what is in it is not the caller's to see
		}
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if name, ours := jobobject.ParseName(n); ours && !seen[n] {
				seen[n] = true
				if c, ok := look(space.prefix+n, name); ok {
					found = append(found, c)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b Containment) int { return int(b.Age - a.Age) })
	return found, nil
}

// jobNames returns the names of the jobs in a directory of the object manager.
func jobNames(directory string) ([]string, error) {
	dir, err := openDirectory(directory)
	if err != nil {
		return nil, fmt.Errorf("open the directory %s of the object manager: %w", directory, err)
	}
	defer windows.CloseHandle(dir)
	if err := procNtQueryDirectoryObject.Find(); err != nil {
		return nil, err
	}
	var names []string
	var next uint32 // where the following call goes on
	buf := make([]windows.NTUnicodeString, 512)
	for restart := uintptr(1); ; restart = 0 {
		var size uint32
		status, _, _ := procNtQueryDirectoryObject.Call(uintptr(dir), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))*unsafe.Sizeof(buf[0]),
			1, restart, uintptr(unsafe.Pointer(&next)), uintptr(unsafe.Pointer(&size)))
		switch windows.NTStatus(status) {
		case windows.STATUS_SUCCESS:
		case windows.STATUS_NO_MORE_ENTRIES:
			return names, nil
		default:
			return nil, fmt.Errorf("list the directory %s of the object manager: %w", directory, windows.NTStatus(status).Errno())
		}
		// One entry at a time: its name and its type.
		if entry := buf[:2]; entry[1].String() == "Job" {
			names = append(names, entry[0].String())
		}
	}
}

func openDirectory(path string) (windows.Handle, error) {
	name, err := windows.NewNTUnicodeString(path)
	if err != nil {
		return 0, err
	}
	if err := procNtOpenDirectoryObject.Find(); err != nil {
		return 0, err
	}
	attributes := &windows.OBJECT_ATTRIBUTES{ObjectName: name, Attributes: windows.OBJ_CASE_INSENSITIVE}
	attributes.Length = uint32(unsafe.Sizeof(*attributes))
	var dir windows.Handle
	status, _, _ := procNtOpenDirectoryObject.Call(uintptr(unsafe.Pointer(&dir)), directoryQuery, uintptr(unsafe.Pointer(attributes)))
	if uint32(status) != 0 {
		return 0, windows.NTStatus(status).Errno()
	}
	return dir, nil
}

// look describes the job of that name, if it holds a process and the caller may
// see it. The job is open only meanwhile.
func look(path string, name jobobject.Name) (Containment, bool) {
	job, err := jobobject.Open(path, jobQuery)
	if err != nil {
		return Containment{}, false
	}
	defer windows.CloseHandle(job)
	owner, ok := ownerOf(name)
	if !ok {
		return Containment{}, false
	}
	pids, err := jobobject.ProcessIDs(job)
	if err != nil {
		return Containment{}, false
	}
	c := Containment{ID: name.ID(), Strategy: "windows/job", Owner: owner}
	var oldest time.Time
	for _, pid := range pids {
		m, created, ok := memberOf(job, pid)
		if !ok {
			continue
		}
		c.Processes++
		if oldest.IsZero() || created.Before(oldest) {
			oldest, c.Leader = created, m.Process
		}
	}
	c.Age = max(0, time.Since(oldest))
	c.members = func() ([]Member, error) { return jobMembers(path) }
	c.stop = func(ctx context.Context, _ time.Duration) (int, error) { return stopJob(ctx, path) }
	return c, c.Processes > 0
}

// ownerOf returns the process that the job's name names, if it still is the same.
func ownerOf(name jobobject.Name) (Process, bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(name.Owner))
	if err != nil {
		return Process{}, false
	}
	defer windows.CloseHandle(h)
	created, err := jobobject.Created(h)
	if err != nil || !created.Equal(name.Created) || jobobject.Exited(h) {
		return Process{}, false
	}
	return process(h, uint32(name.Owner)), true
}

// memberOf looks at a process of the job's list, which may have gone by now and
// its PID been used again.
func memberOf(job windows.Handle, pid uint32) (m Member, created time.Time, ok bool) {
	// Windows is content with PROCESS_QUERY_LIMITED_INFORMATION, Wine 10 is not.
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION|windows.SYNCHRONIZE, false, pid)
	if err != nil {
		return Member{}, time.Time{}, false
	}
	defer windows.CloseHandle(h)
	in, err := jobobject.Contains(h, job)
	if err != nil || !in || jobobject.Exited(h) {
		return Member{}, time.Time{}, false
	}
	created, err = jobobject.Created(h)
	return Member{Process: process(h, pid), Age: max(0, time.Since(created)), Memory: jobobject.WorkingSet(h)}, created, err == nil
}

// jobMembers is the work of Members.
func jobMembers(path string) ([]Member, error) {
	job, err := jobobject.Open(path, jobQuery)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return nil, nil // it has ended
	}
	if err != nil {
		return nil, fmt.Errorf("open its job: %w", err)
	}
	defer windows.CloseHandle(job)
	pids, err := jobobject.ProcessIDs(job)
	if err != nil {
		return nil, err
	}
	parents, err := jobobject.Parents()
	if err != nil {
		return nil, err
	}
	var members []Member
	for _, pid := range pids {
		if m, _, ok := memberOf(job, pid); ok {
			m.Parent = int(parents[pid])
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(b.Age, a.Age) })
	return members, nil
}

func process(h windows.Handle, pid uint32) Process {
	p := Process{PID: int(pid)}
	if path := jobobject.ImageName(h); path != "" {
		p.Name = filepath.Base(path)
	}
	return p
}

// stopJob ends what is in the job of that name by force: a process of another
// console cannot be asked. It returns how many were left when the deadline was over.
func stopJob(ctx context.Context, path string) (left int, err error) {
	job, err := jobobject.Open(path, jobQuery|jobTerminate)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return 0, nil // it has ended, or its owner has let go of it
	}
	if err != nil {
		return 0, fmt.Errorf("open its job to end it: %w", err)
	}
	defer windows.CloseHandle(job)
	ctx, cancel := context.WithTimeout(ctx, registry.SupervisorKillDeadline)
	defer cancel()
	for {
		// Again and again, in case a process was born meanwhile.
		if err := windows.TerminateJobObject(job, killedExitCode); err != nil {
			return 0, fmt.Errorf("TerminateJobObject: %w", err)
		}
		n, err := jobobject.Active(job)
		if err != nil || n == 0 {
			return int(n), err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return int(n), nil
		}
	}
}
