package drill

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bareLife bounds the life of a member that has no descriptor left to learn of
// the driver's end from.
const bareLife = 2 * time.Minute

// sleepWithoutDescriptors closes everything and sleeps. The sleep is a bare
// system call, since the Go runtime's own timers need a descriptor of theirs.
func sleepWithoutDescriptors() {
	runtime.LockOSThread()
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	for fd := range int(min(limit.Cur, 1<<10)) {
		_ = unix.Close(fd)
	}
	left := unix.NsecToTimespec(int64(bareLife))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
	os.Exit(0)
}

// mountProc gives this process, which is in new PID and mount namespaces, the
// /proc of its own, and nobody else.
func mountProc() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount --make-rprivate /", err)
	}
	return os.NewSyscallError("mount /proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
}

// set takes the limits on, for good.
func (l *rlimits) set() error {
	if l == nil {
		return nil
	}
	for resource, value := range map[int]uint64{unix.RLIMIT_NOFILE: l.Files, unix.RLIMIT_NPROC: l.Processes} {
		if value == 0 {
			continue
		}
		// Package syscall's, which else would restore the old limit for children.
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return os.NewSyscallError("setrlimit", err)
		}
	}
	return nil
}

func bindToThread(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// onThread runs f on an OS thread of its own and returns a function that ends
// the thread and returns when it has gone. The main thread does not exit before
// the process does, so f never runs there.
func onThread(f func()) (end func() error) {
	ran, release := make(chan int), make(chan struct{})
	var attempt func()
	attempt = func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			go attempt()
			<-release // keeps the main thread busy meanwhile
			runtime.UnlockOSThread()
			return
		}
		f()
		ran <- unix.Gettid()
		<-release // and return with the thread locked, which ends it
	}
	go attempt()
	thread := fmt.Sprintf("/proc/self/task/%d", <-ran)
	return func() error {
		close(release)
		for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(thread); errors.Is(err, os.ErrNotExist) {
				return nil
			}
		}
		return errors.New("the thread that started the backend does not exit")
	}
}
