package supervisor

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
)

// runWatcher is the life of the one supervisor of a service under linux/cgroup:
// when the owner is gone it ends the owner's cgroup and removes it. It is outside
// that cgroup, and knows nothing of single backends: the owner ends those itself,
// for as long as it lives. It never returns.
func runWatcher(s *Spec, channel int) {
	if s.LockFD >= 0 {
		unix.CloseOnExec(s.LockFD)
	}
	_ = unix.Setpgid(0, 0)
	// As in rawState.watch: the owner's end wakes up a supervisor that was stopped.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0)
	dropStreams()
	_ = unix.Chdir("/")
	var ignore unix.Sigset_t
	for i := range ignore.Val {
		ignore.Val[i] = ^ignore.Val[i]
	}
	// This is the main thread; the others ignore what they can.
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &ignore, nil)
	forRelayed(IgnoredSignals(), func(sig int) { setDisposition(sig, sigIgn, &raw.act) })

	// Open already: among hundreds that fork without pause each call may be a long wait.
	kill, killErr := unix.Open(s.Watch+"/cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0)

	// The owner's descriptors were opened before this process started: once it
	// says ready, the owner's end cannot be missed.
	writeMessage(channel, OpReady, 0, 0)
	fds := []unix.PollFd{
		{Fd: int32(s.OwnerFD), Events: unix.POLLIN},
		{Fd: int32(channel), Events: unix.POLLIN},
	}
	for {
		n, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue
		}
		// The owner never writes here: readable means closed.
		if err != nil || n > 0 {
			break
		}
	}
	if killErr == nil {
		_, _ = unix.Write(kill, one[:]) // before all else; what it cannot do, End can
	}
	deadline := time.Now().Add(s.KillDeadline)
	for cgroupfs.Group(s.Watch).End(deadline) != nil {
		// Past the deadline something is left that cannot die yet, such as a process
		// in uninterruptible sleep. Its end is only a matter of time.
		deadline = time.Now().Add(time.Minute)
	}
	writeMessage(channel, OpEmpty, 0, 0)
	exit(0)
}
