package drill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"
)

// pass makes f a handle that cmd inherits, and returns how the process finds it.
// It is inheritable until f is closed, but only by those that it is listed for.
func pass(cmd *exec.Cmd, f *os.File) string {
	h := syscall.Handle(f.Fd())
	check("make a handle inheritable", windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT))
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.AdditionalInheritedHandles = append(cmd.SysProcAttr.AdditionalInheritedHandles, h)
	return strconv.FormatUint(uint64(h), 10)
}

// inherited opens what pass has passed, for this process alone.
func inherited(number string) *os.File {
	h, err := strconv.ParseUint(number, 10, 64)
	check("find an inherited handle", err)
	check("keep a handle to this process", windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, 0))
	return os.NewFile(uintptr(h), "inherited")
}

// prepareMember sets up how a member of that shape ends by itself, or does not.
func prepareMember(s *script) {
	switch s.Shape {
	case shapeIgnoring:
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
	case shapeLeader:
		name, err := leaveEvent(nonce)
		check("name the event at which to exit", err)
		h, err := windows.CreateEvent(nil, 1, 0, name)
		check("make the event at which to exit", err)
		go func() {
			if event, err := windows.WaitForSingleObject(h, windows.INFINITE); err == nil && event == windows.WAIT_OBJECT_0 {
				os.Exit(0)
			}
		}()
	}
}

// shapeAttr is how a member of that shape is started.
func shapeAttr(shape string) *syscall.SysProcAttr {
	switch shape {
	case shapeNewGroup:
		return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	case shapeDetached, shapeDaemon:
		return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	}
	return nil
}

// arrange puts the owner into its circumstances: there are none but the usual.
func arrange(owner *script, _ Drill) (first *script, adapt func(*exec.Cmd)) { return owner, nil }

// backendAttr is how an owner starts its backend.
func backendAttr(*script) *syscall.SysProcAttr { return nil }

// startCrowd starts the first of n processes, each of which starts up to two.
func startCrowd(n int) error {
	cmd := command(&script{Role: roleMember, Shape: shapeCrowd, Crowd: n})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// onThread runs f on an OS thread of its own and returns a function that ends it.
func onThread(f func()) (end func() error) {
	ran, release := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		f()
		close(ran)
		<-release
	}()
	<-ran
	return func() error { close(release); return nil }
}

// Users, resource limits and mounts are not for drills on Windows; what asks for
// them fails.
var errElsewhere = fmt.Errorf("%w in drills on Windows", errors.ErrUnsupported)

var strangerUID = 0

func dropTo(int) error    { return errElsewhere }
func mountProc() error    { return errElsewhere }
func killGroup(int) error { return errElsewhere }
func startChain() error   { return errElsewhere }

func (l *rlimits) set() error {
	if l != nil {
		return errElsewhere
	}
	return nil
}

func reapAll() {}

func sleepWithoutDescriptors() { fail(errElsewhere) }

// copyExecutable makes a copy that every user can execute.
func copyExecutable(exe string) (path string, err error) {
	in, err := os.Open(exe)
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp("", "contain-drill-*.exe")
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(out.Name())
	}
	return out.Name(), err
}
