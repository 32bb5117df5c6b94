package drill

import (
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// room is how many more processes may be started, as far as pids.max of this
// process's cgroups (v2 and v1), RLIMIT_NPROC and RLIMIT_NOFILE tell.
func room() int {
	free := math.MaxInt32
	for _, dir := range pidsCgroups() {
		most, ok := readNumber(path.Join(dir, "pids.max"))
		used, _ := readNumber(path.Join(dir, "pids.current"))
		if ok {
			free = min(free, most-used)
		}
	}
	var l unix.Rlimit
	if os.Geteuid() != 0 && unix.Getrlimit(unix.RLIMIT_NPROC, &l) == nil && l.Cur < math.MaxInt32 {
		free = min(free, int(l.Cur)-tasksOf(os.Getuid()))
	}
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil && l.Cur < math.MaxInt32 {
		free = min(free, int(l.Cur)-100) // a pidfd each
	}
	return max(0, free)
}

// pidsCgroups lists the directories of this process's cgroups, up to the root,
// that may limit the number of processes.
func pidsCgroups() []string {
	cgroups, _ := os.ReadFile("/proc/self/cgroup")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	var dirs []string
	for line := range strings.Lines(string(cgroups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "pids" {
			continue
		}
		mount := cgroupMount(string(mounts), parts[1])
		if mount == "" {
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			dirs = append(dirs, path.Join(mount, dir))
			if dir == "/" {
				break
			}
		}
	}
	return dirs
}

// cgroupMount finds where cgroup v2 or a v1 controller is mounted, proc_pid_mountinfo(5).
func cgroupMount(mounts, controller string) string {
	for line := range strings.Lines(mounts) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		fields, fs := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(fs) < 3 {
			continue
		}
		v1 := fs[0] == "cgroup" && controller != "" && strings.Contains(","+fs[2]+",", ","+controller+",")
		if v1 || fs[0] == "cgroup2" && controller == "" {
			return fields[4]
		}
	}
	return ""
}

func readNumber(file string) (int, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b))) // not "max"
	return n, err == nil
}

// tasksOf counts the threads of a user, which is what RLIMIT_NPROC counts.
func tasksOf(uid int) int {
	n := 0
	for _, pid := range pids() {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			continue
		}
		threads, mine := 0, false
		for line := range strings.Lines(string(status)) {
			fields := strings.Fields(line)
			if len(fields) > 1 && fields[0] == "Uid:" {
				mine = fields[1] == strconv.Itoa(uid)
			}
			if len(fields) > 1 && fields[0] == "Threads:" {
				threads, _ = strconv.Atoi(fields[1])
			}
		}
		if mine {
			n += threads
		}
	}
	return n
}
