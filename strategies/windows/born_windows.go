package windows

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
)

// procThreadAttributeJobList is PROC_THREAD_ATTRIBUTE_JOB_LIST (Windows 10), which
// golang.org/x/sys does not have.
// https://learn.microsoft.com/windows/win32/api/processthreadsapi/nf-processthreadsapi-updateprocthreadattribute
const procThreadAttributeJobList = 0x2000d

// errNotOurs: the start needs what only exec.Cmd knows.
var errNotOurs = errors.New("only exec.Cmd can start this")

// errStarted is what exec.Cmd says to a second start.
var errStarted = errors.New("exec: already started")

// canBeBorn reports whether we can start cmd ourselves, and exec.Cmd will not miss
// that it did not: it has no context to watch, no pipe to close or copy, and looks
// for no file. That is so for contain run, and for a command without streams.
func canBeBorn(cmd *exec.Cmd) bool {
	stdin, _ := cmd.Stdin.(*os.File)
	stdout, _ := cmd.Stdout.(*os.File)
	stderr, _ := cmd.Stderr.(*os.File)
	switch {
	case cmd.Err != nil, cmd.Cancel != nil, cmd.WaitDelay != 0, len(cmd.ExtraFiles) > 0:
		return false
	case cmd.Stdin != nil && !ownStream(stdin), cmd.Stdout != nil && !ownStream(stdout), cmd.Stderr != nil && !ownStream(stderr):
		return false // perhaps the end of one of exec.Cmd's pipes
	case !filepath.IsAbs(cmd.Path), filepath.Ext(cmd.Path) == "":
		return false
	}
	attr := cmd.SysProcAttr
	return attr == nil || attr.Token == 0 && attr.ProcessAttributes == nil && attr.ThreadAttributes == nil &&
		!attr.NoInheritHandles && attr.AdditionalInheritedHandles == nil && attr.ParentProcess == 0
}

func ownStream(f *os.File) bool {
	return f != nil && (f == os.Stdin || f == os.Stdout || f == os.Stderr)
}

// born starts cmd in the job, if it can be started so. If not, nothing has
// happened, and exec.Cmd is to start it, which says what is wrong.
func (b *backend) born(cmd *exec.Cmd) (bool, error) {
	// First, so that a Close which does not wait for the start ends what is born.
	if err := b.in.backends.Admit(b); err != nil {
		return false, err
	}
	if b.bear(cmd) != nil {
		b.in.backends.Remove(b)
		return false, nil
	}
	process, err := os.FindProcess(b.pid) // our handle keeps it from being another's
	if err != nil {
		return false, errors.Join(fmt.Errorf("open PID %d, which was started: %w", b.pid, err), b.Kill())
	}
	_ = registry.Refuse(cmd, errStarted) // exec.Cmd does not know, and would start it again
	cmd.Process = process
	return true, nil
}

// bear is startInJob. An order to end that comes meanwhile is carried out after it:
// a job that is ended while a process is created in it makes Wine's server crash.
func (b *backend) bear(cmd *exec.Cmd) error {
	b.setBirth(true)
	err := b.startInJob(cmd)
	b.setBirth(false)
	return err
}

func (b *backend) setBirth(now bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.birth = now
	if !now && b.ending && b.leader != 0 {
		_ = b.terminate() // an error is met again at the next recheck
	}
}

// startInJob starts cmd as a process that is in the job from its birth, so that it
// need not be suspended, nor resumed by a call that has no page. If it fails, no
// process has been created.
func (b *backend) startInJob(cmd *exec.Cmd) error {
	if !canBeBorn(cmd) {
		return errNotOurs
	}
	streams, err := inheritable(cmd)
	defer closeAll(streams)
	if err != nil {
		return err
	}
	path, err := windows.UTF16PtrFromString(cmd.Path)
	if err != nil {
		return err
	}
	flags := uint32(windows.CREATE_UNICODE_ENVIRONMENT | windows.EXTENDED_STARTUPINFO_PRESENT)
	si := &windows.StartupInfoEx{StartupInfo: windows.StartupInfo{
		Flags: windows.STARTF_USESTDHANDLES, StdInput: streams[0], StdOutput: streams[1], StdErr: streams[2],
	}}
	si.Cb = uint32(unsafe.Sizeof(*si))
	line := windows.ComposeCommandLine(cmd.Args)
	if attr := cmd.SysProcAttr; attr != nil {
		flags |= attr.CreationFlags
		if attr.CmdLine != "" {
			line = attr.CmdLine
		}
		if attr.HideWindow {
			si.Flags |= windows.STARTF_USESHOWWINDOW
			si.ShowWindow = windows.SW_HIDE
		}
	}
	commandLine, err := windows.UTF16PtrFromString(line)
	if err != nil {
		return err
	}
	var dir *uint16
	if cmd.Dir != "" {
		if dir, err = windows.UTF16PtrFromString(cmd.Dir); err != nil {
			return err
		}
	}
	env, err := environmentBlock(cmd.Environ())
	if err != nil {
		return err
	}
	list, err := windows.NewProcThreadAttributeList(2)
	if err != nil {
		return err
	}
	defer list.Delete()
	err = errors.Join(
		list.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&streams[0]), uintptr(len(streams))*unsafe.Sizeof(streams[0])),
		list.Update(procThreadAttributeJobList, unsafe.Pointer(&b.job), unsafe.Sizeof(b.job)))
	if err != nil {
		return err
	}
	si.ProcThreadAttributeList = list.List()
	var made windows.ProcessInformation
	if err := sys.createProcess(path, commandLine, nil, nil, true, flags, &env[0], dir, &si.StartupInfo, &made); err != nil {
		return err
	}
	_ = windows.CloseHandle(made.Thread)
	b.mu.Lock() // for a Close meanwhile
	b.leader, b.pid, b.flags = made.Process, int(made.ProcessId), flags
	b.mu.Unlock()
	return nil
}

// inheritable returns handles of cmd's streams that a child inherits if they are
// named to it.
func inheritable(cmd *exec.Cmd) ([]windows.Handle, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	self := windows.CurrentProcess()
	var handles []windows.Handle
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok {
			f = null
		}
		var h windows.Handle
		if err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), self, &h, 0, true, windows.DUPLICATE_SAME_ACCESS); err != nil {
			return handles, err
		}
		handles = append(handles, h)
	}
	return handles, nil
}

func closeAll(handles []windows.Handle) {
	for _, h := range handles {
		_ = windows.CloseHandle(h)
	}
}

// environmentBlock returns env as CreateProcess wants it, sorted by name.
// https://learn.microsoft.com/windows/win32/procthread/changing-environment-variables
func environmentBlock(env []string) ([]uint16, error) {
	name := func(s string) string {
		n, _, _ := strings.Cut(s, "=")
		return strings.ToUpper(n)
	}
	env = slices.Clone(env)
	slices.SortStableFunc(env, func(a, b string) int { return strings.Compare(name(a), name(b)) })
	var block []uint16
	for _, s := range env {
		text, err := windows.UTF16FromString(s)
		if err != nil {
			return nil, err
		}
		block = append(block, text...)
	}
	if block == nil {
		block = []uint16{0}
	}
	return append(block, 0), nil
}
