//go:build linux || darwin

package drill

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// pass makes f a descriptor of cmd and returns how the process finds it.
func pass(cmd *exec.Cmd, f *os.File) string {
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return strconv.Itoa(2 + len(cmd.ExtraFiles))
}

// inherited opens what pass has passed.
func inherited(number string) *os.File {
	fd, err := strconv.Atoi(number)
	check("find an inherited descriptor", err)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "inherited")
}

// leave is the signal at which a leader exits by itself.
const leave = syscall.SIGUSR1

// strangerUID is a user that nothing else is likely to run under, nor another
// driver, so that what RLIMIT_NPROC counts is the drill's own.
var strangerUID = 1_000_000 + os.Getpid()

// prepareMember sets up what a member of that shape does with signals. None dies
// of SIGHUP, which the kernel sends to a process group with stopped members that
// loses its session's last tie, setpgid(2).
func prepareMember(s *script) {
	signal.Ignore(syscall.SIGHUP)
	switch s.Shape {
	case shapeIgnoring:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	case shapeLeader:
		order := make(chan os.Signal, 1)
		signal.Notify(order, leave)
		go func() { <-order; os.Exit(0) }()
	case shapeChain:
		playLink(s)
	}
}

// shapeAttr is how a member of that shape is started.
func shapeAttr(shape string) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: detached(shape)}
}

// dropTo changes this process's user for good.
func dropTo(uid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setgid(uid); err != nil {
		return os.NewSyscallError("setgid", err)
	}
	return os.NewSyscallError("setuid", syscall.Setuid(uid))
}

func killGroup(pgid int) error { return syscall.Kill(-pgid, syscall.SIGKILL) }

func reapAll() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err == syscall.ECHILD {
			return
		}
	}
}

// backendAttr is how an owner starts its backend.
func backendAttr(s *script) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: s.Setpgid}
	if s.Backend != 0 {
		a.Credential = credential(s.Backend)
	}
	if s.Bound {
		bindToThread(a)
	}
	return a
}

func credential(uid int) *syscall.Credential {
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
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

// copyExecutable makes a copy that every user can execute: a test's is in a
// directory that only its own user may enter.
func copyExecutable(exe string) (path string, err error) {
	in, err := os.Open(exe)
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp("", "contain-drill-*")
	if err != nil {
		return "", fmt.Errorf("copy this executable: %w", err)
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(0o755)
	}
	return out.Name(), err
}
