//go:build linux || darwin

package entry

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/walk"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// proxy starts the supervisor, hands on the signals that it gets, and ends as
// the leader ends.
func proxy(table xnu.Table, channel int) {
	signals := make(chan os.Signal, 64)
	notify(signals)
	ours, theirs, err := socketpair()
	if err != nil {
		os.Exit(125)
	}
	pid, err := startSupervisor(table, channel, theirs)
	if err != nil {
		var errno syscall.Errno
		if e, ok := err.(syscall.Errno); ok {
			errno = e
		}
		_ = WriteMessage(os.NewFile(uintptr(channel), "owner"), supervisor.Message{
			Op: supervisor.OpRefused, A: uint32(supervisor.RefusedSetup), B: uint32(errno)})
		os.Exit(125)
	}
	_ = unix.Close(theirs)
	_ = unix.Close(channel)
	dropFiles(channel)
	link := os.NewFile(uintptr(ours), "supervisor")
	go func() {
		for s := range signals {
			// If all of us had been stopped and the service ends, the kernel wakes this
			// process alone: its group, orphaned, has a stopped member, setpgid(2). The
			// supervisor is a child that was not waited for, so the PID is its own.
			_ = syscall.Kill(pid, syscall.SIGCONT)
			_ = WriteMessage(link, supervisor.Message{Op: supervisor.OpSignal, A: uint32(s.(syscall.Signal))})
		}
	}()
	mirror(table, await(table, link, pid))
}

// notify catches what can be handed on, but what is ignored stays ignored.
func notify(c chan os.Signal) {
	for s := unix.Signal(1); s < 32; s++ {
		switch s {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGPROF,
			unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP:
		default:
			if !signal.Ignored(s) {
				signal.Notify(c, s)
			}
		}
	}
}

// startSupervisor starts this executable again with the same descriptors and the link.
func startSupervisor(table xnu.Table, channel, link int) (pid int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	files := make([]uintptr, channel+2)
	for fd := range files {
		files[fd] = uintptr(fd)
	}
	files[channel+1] = uintptr(link)
	return syscall.ForkExec(exe, []string{table.Argv0()}, &syscall.ProcAttr{
		Env:   append(Environ(channel), linkEnv+"="+strconv.Itoa(channel+1)),
		Files: files,
	})
}

// await returns the wait status to end with. If the supervisor is killed, what
// can be found below the leader is killed here; nothing of that is promised.
func await(table xnu.Table, link *os.File, supervisorPID int) syscall.WaitStatus {
	var leader xnu.Process
	for {
		m, err := ReadMessage(link)
		if err != nil {
			killBelow(table, leader)
			return syscall.WaitStatus(registry.SigKill)
		}
		switch m.Op {
		case supervisor.OpStarted:
			leader, _ = table.Lookup(int(m.A))
		case supervisor.OpMirror:
			if m.B != 0 {
				_, _ = syscall.Wait4(supervisorPID, nil, 0, nil)
			}
			return syscall.WaitStatus(m.A)
		}
	}
}

func killBelow(table xnu.Table, leader xnu.Process) {
	if leader.PID == 0 {
		return
	}
	self, err := table.Lookup(os.Getpid())
	if err != nil {
		return
	}
	tree := walk.Tree{Table: table, Self: self}
	tree.Know(leader)
	for range 100 {
		if left, err := tree.Kill(syscall.Signal(registry.SigKill)); left == 0 || err != nil {
			return
		}
	}
}

// mirror ends this process as the leader ended. A signal is sent by a shell in
// this process's place: Go's runtime would answer some with a traceback.
func mirror(table xnu.Table, status syscall.WaitStatus) {
	if !status.Signaled() {
		os.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(os.Getpid(), sig)
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = syscall.Exec("/bin/sh", []string{table.Argv0(), "-c", "kill -" + strconv.Itoa(int(sig)) + " $$"}, nil)
	os.Exit(128 + int(sig))
}
