package linux

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

func init() {
	Roles["storm"] = stormRole
	Roles["storm-owner"] = stormOwnerRole
}

const (
	stormEnv  = "CONTAIN_TEST_STORM"   // bomb or chains
	stormSize = "CONTAIN_TEST_SIZE"    // of the room that a bomb has, or how many chains
	stormRoom = "CONTAIN_TEST_ROOM"    // the most processes and threads that the user may have
	stormUser = "CONTAIN_TEST_USER"    // whose processes are counted, if not this one's
	stormLong = 3                      // deadlines that the end of a storm may take on a busy host
	stormLife = 12 * deadlineInSeconds // bounds a storm that no test ends
	stormStop = 4                      // a descriptor whose end ends the storm
)

const deadlineInSeconds = int(deadline / time.Second)

// TestForkStormEnds: processes that fork without pause, and as soon as there is room,
// end with their owner, although there are a hundred of them, or with CONTAIN_FULL hundreds for each CPU. A bomb's room
// is bounded; chains are daemons that fork their successor and exit.
func TestForkStormEnds(t *testing.T) {
	notShort(t)
	sizes := map[string]int{"bomb": 100, "chains": 80}
	switch os.Getenv("CONTAIN_FULL") {
	case "":
	case "1":
		sizes = map[string]int{"bomb": 1500, "chains": 1000}
	default:
		sizes = map[string]int{"bomb": 400, "chains": 300}
	}
	for kind, size := range sizes {
		for _, s := range []registry.Strategy{Subreaper(), Cgroup()} {
			name := s.Describe().Name
			t.Run(kind+"/"+name, func(t *testing.T) {
				if err := registry.Probe(t.Context(), s); err != nil {
					t.Skip(err)
				}
				service, l, _, stop := stormOf(t, name, kind, size)
				defer stop()
				began := time.Now()
				_ = service.cmd.Process.Kill()
				_ = service.cmd.Wait()
				died := time.Since(began)
				for range stormLong {
					if l.gone() {
						t.Logf("gone %v after the owner, which took %v to die", time.Since(began)-died, died)
						return
					}
				}
				t.Errorf("alive %v after the owner: %d processes", time.Since(began)-died, len(l.holders()))
			})
		}
		t.Run(kind+"/control", func(t *testing.T) {
			service, l, rages, stop := stormOf(t, "plain", kind, size)
			defer stop()
			_ = service.cmd.Process.Kill()
			_ = service.cmd.Wait()
			for end := time.Now().Add(stormLong * deadline); !rages(); { // one look may miss whoever forks meanwhile
				if time.Now().After(end) {
					t.Fatal("a storm that nothing contains has ended with its owner: it proves nothing")
				}
			}
			stop()
			if !l.gone() {
				t.Errorf("a storm that was told to end goes on: %d processes", len(l.holders()))
			}
		})
	}
}

// stormOf starts an owner of a storm, and returns when that rages; stop ends it if
// nothing else has.
func stormOf(t *testing.T, strategy, kind string, size int) (s *service, l *liveness, rages func() bool, stop func()) {
	t.Helper()
	l = newLiveness(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	user, room := os.Getuid(), size
	if user == 0 { // a user of its own, whose processes are counted apart
		user = 60000 + (os.Getpid()+int(storms.Add(1)))%5000
	}
	before := tasksOf(t, user)
	for falls := true; falls; { // those of the last storm are dead, and may not have been reaped
		time.Sleep(100 * time.Millisecond)
		now := tasksOf(t, user)
		falls, before = now < before, now
	}
	if kind == "chains" {
		room *= 4
	}
	const threads = 40 // of the programs that are yet to begin
	cmd := l.carry(role("storm-owner", strategyEnv+"="+strategy, stormEnv+"="+kind, stormSize+"="+strconv.Itoa(size),
		stormRoom+"="+strconv.Itoa(before+threads+room), stormUser+"="+strconv.Itoa(user)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	s = startService(t, cmd)
	r.Close()
	l.let()
	l.expect("storm")
	rages = func() bool { return tasksOf(t, user) >= before+size*3/4 }
	for end := time.Now().Add(stormLong * deadline); !rages(); {
		if time.Now().After(end) {
			t.Fatalf("there is no storm: %d threads, %d before it", tasksOf(t, user), before)
		}
	}
	return s, l, rages, func() { w.Close() }
}

var storms atomic.Int32

// tasksOf counts a user's threads, as RLIMIT_NPROC does.
func tasksOf(t *testing.T, uid int) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		if _, err := strconv.Atoi(e.Name()); err == nil && unix.Stat("/proc/"+e.Name()+"/task", &st) == nil && st.Uid == uint32(uid) {
			n += int(st.Nlink) - 2 // a directory for each
		}
	}
	return n
}

// stormOwnerRole is a service that starts a storm.
func stormOwnerRole() {
	unix.CloseOnExec(3)
	unix.CloseOnExec(stormStop)
	start := starterOf(os.Getenv(strategyEnv), registry.InstallOptions{})
	cmd := role("storm")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness"), os.NewFile(stormStop, "stop")}
	must(start(cmd))
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// stormRole becomes a storm of single-threaded processes without a Go runtime.
func stormRole() {
	room, err := strconv.ParseUint(os.Getenv(stormRoom), 10, 64)
	must(err)
	must(unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: room, Max: room}))
	size, err := strconv.Atoi(os.Getenv(stormSize))
	must(err)
	// Only now: the file of this program may be one that the user cannot execute.
	if user, err := strconv.Atoi(os.Getenv(stormUser)); err == nil && user != os.Getuid() {
		must(syscall.Setgid(user))
		must(syscall.Setuid(user))
	}
	must(unix.Pipe2(stormStart[:], unix.O_CLOEXEC))
	stormEnd = stormSeconds() + uintptr(stormLife)
	runtime.LockOSThread()
	all := ^uint64(0)
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0)
	if os.Getenv(stormEnv) == "bomb" {
		size = 1
	}
	for range size { // they begin together
		switch pid := stormFork(); {
		case pid == 0 && size == 1:
			stormBomb()
		case pid == 0:
			stormChain()
		case pid < 0:
			must(syscall.Errno(-pid))
		}
	}
	_, _ = unix.Write(3, []byte("storm\n")) // before it has to wait for a CPU
	_ = unix.Close(stormStart[0])
	_ = unix.Close(stormStart[1])
	for !stormOver() {
		// Not time.Sleep: the Go runtime might need a thread for that, for which there is no room.
		stormSys(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&unix.Timespec{Nsec: 1e8})))
	}
}

var (
	stormStart [2]int // a pipe whose end begins the storm
	stormEnd   uintptr
	stormByte  byte
)

// stormBomb forks for as long as it lives, and so does every child.
//
//go:nosplit
//go:norace
func stormBomb() {
	stormWait()
	for !stormOver() {
		if stormFork() < 0 {
			stormSys(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	}
	stormExit()
}

// stormChain is a daemon that forks its successor and exits, and so does that.
//
//go:nosplit
//go:norace
func stormChain() {
	stormWait()
	for !stormOver() {
		stormSys(unix.SYS_SETSID, 0, 0, 0)
		if stormFork() > 0 {
			stormExit()
		}
	}
	stormExit()
}

//go:nosplit
//go:norace
func stormWait() {
	stormSys(unix.SYS_CLOSE, uintptr(stormStart[1]), 0, 0)
	stormSys(unix.SYS_READ, uintptr(stormStart[0]), uintptr(unsafe.Pointer(&stormByte)), 1)
}

//go:nosplit
//go:norace
func stormFork() int {
	if runtime.GOARCH == "s390x" { // there the stack comes first, clone(2)
		return stormSys(unix.SYS_CLONE, 0, uintptr(unix.SIGCHLD), 0)
	}
	return stormSys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
}

// stormOver reports whether the test has ended the storm, or has been forgotten.
//
//go:nosplit
//go:norace
//go:nocheckptr
func stormOver() bool {
	fd := struct {
		fd              int32
		events, revents int16
	}{fd: stormStop}
	now := [2]uintptr{}
	return stormSys(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&now))) > 0 || stormSeconds() > stormEnd
}

//go:nosplit
//go:norace
func stormSeconds() uintptr {
	ts := [2]uintptr{}
	stormSys(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0)
	return ts[0]
}

//go:nosplit
//go:norace
func stormExit() {
	for {
		stormSys(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func stormSys(nr, a, b, c uintptr) int {
	r, _, errno := syscall.RawSyscall6(nr, a, b, c, 0, 0, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}
