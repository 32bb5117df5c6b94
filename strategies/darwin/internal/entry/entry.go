//go:build linux || darwin

package entry

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// linkEnv is set for the supervisor only: the number of its descriptor of the
// link to the proxy. supervisor.FDEnv is set for both.
const linkEnv = "CONTAIN_SUPERVISOR_LINK"

// Enter is where a program that was started as a supervisor ends; nothing of its
// main runs, and little of its package initialisation has run before. On macOS an
// init function of this package calls it.
func Enter(table xnu.Table) {
	if len(os.Args) != 1 || os.Args[0] != table.Argv0() {
		return
	}
	channel, err := strconv.Atoi(os.Getenv(supervisor.FDEnv))
	if err != nil || channel < 3 || !ownPeer(table, channel) {
		_, _ = os.Stderr.WriteString("contain: " + table.Argv0() + " is started by contain only; nothing was run\n")
		os.Exit(125)
	}
	table.Become()
	if link, err := strconv.Atoi(os.Getenv(linkEnv)); err == nil {
		supervise(table, channel, link)
	} else {
		proxy(table, channel)
	}
	os.Exit(125)
}

// ownPeer reports whether the other end of the channel was made under our
// credentials, and these have not changed at exec (a setuid or setgid executable).
func ownPeer(table xnu.Table, channel int) bool {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return false
	}
	uid, err := table.PeerUID(channel)
	return err == nil && int(uid) == os.Geteuid()
}

// socketpair returns two ends that no concurrent fork and exec inherits.
func socketpair() (ours, theirs int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return fds[0], fds[1], nil
}

// NewChannel returns a socket pair for an owner and its supervisor.
func NewChannel() (ours, theirs *os.File, err error) {
	a, b, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(a, true); err != nil { // for deadlines
		unix.Close(a)
		unix.Close(b)
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(a), "supervisor"), os.NewFile(uintptr(b), "owner"), nil
}

// Environ returns the environment of an executable to be started as the proxy,
// with the channel on descriptor fd. Everything below fd belongs to the backend.
func Environ(fd int) []string {
	env := []string{supervisor.FDEnv + "=" + strconv.Itoa(fd)}
	for _, name := range loaderPaths {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// loaderPaths say where an executable that is not static finds its libraries,
// dyld(1). What inserts others is not among them.
var loaderPaths = []string{
	"DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FALLBACK_FRAMEWORK_PATH", "DYLD_ROOT_PATH",
}

// dropFiles replaces the standard streams and closes what else belongs to the
// backend, so that the backend's end of a pipe is the end of the pipe.
func dropFiles(n int) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	for fd := range n {
		if err == nil && fd < 3 {
			_ = dup2(null, fd)
		} else {
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		_ = unix.Close(null)
	}
	_ = unix.Chdir("/")
}
