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

// playLink is not how a chain is made here, see startChain.
func playLink(*script) { fail(fmt.Errorf("a chain is made of forks on %s", runtime.GOOS)) }
