package supervisor

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OriginalEnviron returns the environment that this process was executed with, as it
// was: os.Environ leaves out the empty strings, and all but the first of a name.
func OriginalEnviron() []string {
	text, err := readAll("/proc/self/environ")
	if err != nil || len(text) == 0 || text[len(text)-1] != 0 {
		return os.Environ()
	}
	return strings.Split(string(text[:len(text)-1]), "\x00")
}

// readAll is os.ReadFile without an os.File, which costs more than all the rest.
func readAll(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text := make([]byte, 0, 4<<10)
	for {
		text = slices.Grow(text, 512)
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return text, err
		default:
			text = text[:len(text)+n]
		}
	}
}

// Environ is OriginalEnviron with what this process has changed since.
func Environ() []string {
	now := os.Environ()
	seen := make(map[string]bool, len(now))
	var env []string
	for _, entry := range OriginalEnviron() {
		name, _, ok := strings.Cut(entry, "=")
		if !ok || name == "" { // nothing that package os can have changed
			env = append(env, entry)
			continue
		}
		value, set := os.LookupEnv(name)
		switch {
		case !set:
		case seen[name]:
			env = append(env, entry)
		default:
			seen[name] = true
			env = append(env, name+"="+value)
		}
	}
	for _, entry := range now {
		if name, _, ok := strings.Cut(entry, "="); ok && name != "" && !seen[name] {
			env = append(env, entry)
		}
	}
	return env
}

// What names the process that something is meant for: descriptors that are passed,
// sd_listen_fds(3), and a watchdog, sd_watchdog_enabled(3). Where a service manager
// has named contain run, it means the command.
const (
	listenPID   = "LISTEN_PID="
	watchdogPID = "WATCHDOG_PID="
	// listenPidfd is LISTEN_PID once more, by the inode of a pidfd. It may be left out.
	listenPidfd = "LISTEN_PIDFDID="
)

// pidRoom is room for a PID in decimal and a NUL, ten digits being more than there are.
const pidRoom = "0000000000"

// pidPlace is where in an environment the leader's PID belongs.
type pidPlace struct{ entry, offset int }

// forLeader returns env with pidRoom wherever what is meant for this process is meant
// for the leader, whose PID nobody knows before it is born.
func forLeader(env []string) (its []string, places []pidPlace) {
	own := strconv.Itoa(os.Getpid())
	if !slices.Contains(env, listenPID+own) && !slices.Contains(env, watchdogPID+own) {
		return env, nil
	}
	listens := slices.Contains(env, listenPID+own)
	for _, entry := range env {
		switch {
		case listens && strings.HasPrefix(entry, listenPidfd):
			continue
		case entry == listenPID+own, entry == watchdogPID+own:
			offset := len(entry) - len(own)
			places = append(places, pidPlace{len(its), offset})
			entry = entry[:offset] + pidRoom
		}
		its = append(its, entry)
	}
	return its, places
}
