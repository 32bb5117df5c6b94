package drill

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
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

// prepareMember sets up what a member of that shape does with signals. None dies
// of SIGHUP, which the kernel sends to a process group with stopped members that
// loses its session's last tie, setpgid(2).
func prepareMember(shape string) {
	signal.Ignore(syscall.SIGHUP)
	switch shape {
	case shapeIgnoring:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	case shapeLeader:
		order := make(chan os.Signal, 1)
		signal.Notify(order, leave)
		go func() { <-order; os.Exit(0) }()
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
