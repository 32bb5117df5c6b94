package drill

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits that are low but leave room for a drill. A sandboxed shell has fewer files,
// and macOS counts processes, not threads.
const (
	fewFiles     = 24
	fewProcesses = 16
)

// arrange puts the owner into its circumstances: it returns the script of the
// process to start, and what that needs in its exec.Cmd.
func arrange(owner *script, d Drill) (first *script, adapt func(*exec.Cmd)) {
	attr := &syscall.SysProcAttr{}
	adapt = func(cmd *exec.Cmd) { cmd.SysProcAttr = attr }
	first = owner
	switch d.Owner {
	case ownerNobody:
		attr.Credential = credential(strangerUID)
	case ownerDropped:
		owner.DropTo = strangerUID
	case ownerFiles:
		owner.Limit = &rlimits{Files: fewFiles}
	case ownerProcs:
		attr.Credential = credential(strangerUID)
		owner.Limit = &rlimits{Processes: fewProcesses}
	case ownerNested:
		inner := &script{Role: roleInit, Next: owner}
		first = &script{Role: roleOuter, Strategy: d.Strategy, Next: inner}
	}
	return first, adapt
}

// startCrowd starts the first of n processes, each of which starts up to two.
func startCrowd(n int) error {
	return startPlain(&script{Role: roleMember, Shape: shapeCrowd, Crowd: n})
}

// startChain starts the first of a chain.
func startChain() error { return startPlain(&script{Role: roleMember, Shape: shapeChain}) }

func startPlain(s *script) error {
	cmd := command(s)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// chainLinks bounds the life of a chain.
const chainLinks = 20_000

// playLink is one of a chain: it starts the next and exits. The first reports itself.
func playLink(s *script) {
	if s.At == 0 {
		report(os.Stdout, shapeChain)
	}
	if s.At >= chainLinks || released() {
		os.Exit(0)
	}
	check("start the next of the chain", command(&script{Role: roleMember, Shape: shapeChain, At: s.At + 1}).Start())
	os.Exit(0)
}

// released reports whether the driver has ended: standard input has hung up.
func released() bool {
	fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// bareLife bounds the life of a member that has no descriptor left to learn of
// the driver's end from.
const bareLife = 2 * time.Minute

// sleepWithoutDescriptors closes everything and sleeps. The sleep is a system call,
// since the Go runtime's own timers need the kqueue that is closed here, too.
func sleepWithoutDescriptors() {
	runtime.LockOSThread()
	for fd := range 1 << 10 {
		_ = unix.Close(fd)
	}
	for range int(bareLife / time.Second) {
		second := unix.NsecToTimeval(int64(time.Second))
		_, _ = unix.Select(0, nil, nil, nil, &second)
	}
	os.Exit(0)
}

func mountProc() error { return fmt.Errorf("mount /proc: %w: macOS has none", unix.ENOTSUP) }

// bindToThread has nothing to bind to: macOS has no parent-death signal.
func bindToThread(*syscall.SysProcAttr) {}

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
