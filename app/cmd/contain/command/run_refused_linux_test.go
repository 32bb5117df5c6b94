package command

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
)

// A call is what a seccomp filter refuses: old kernels by ENOSYS, the filters of
// containers and services by EPERM.
type call struct {
	name   string
	number uint32
	// first is the first argument of those that are refused, any if it is negative.
	first int
}

var refusable = []call{
	{"pidfd_open", unix.SYS_PIDFD_OPEN, -1},
	{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, -1},
	{"clone3", unix.SYS_CLONE3, -1},
	{"waitid by pidfd", unix.SYS_WAITID, unix.P_PIDFD},
	{"waitid", unix.SYS_WAITID, -1},
	{"close_range", unix.SYS_CLOSE_RANGE, -1},
}

// refuser is the role of a program that refuses itself a call (number, first
// argument, errno), and executes a command.
func refuser() {
	runtime.LockOSThread()
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(os.Args[1+i])
	}
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{ // struct seccomp_data: the number, and from 16 on the arguments
		{Code: load, K: 0},
		{Code: equal, K: uint32(n[0]), Jf: 3},
		{Code: load, K: 16},
		{Code: equal, K: uint32(n[1]), Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(n[2])},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	if n[1] < 0 {
		filter[3] = unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 0}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	}
	if err == nil {
		err = syscall.Exec(os.Args[4], os.Args[4:], os.Environ())
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestRunRefusedCalls: where a call is refused contain run does without, and keeps
// what it promises, or says why it does not run its command.
func TestRunRefusedCalls(t *testing.T) {
	long(t)
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, c := range refusable {
			for _, errno := range []syscall.Errno{unix.ENOSYS, unix.EPERM} {
				if c.number == unix.SYS_CLONE3 && errno == unix.EPERM {
					continue // the C library, if there is one, makes no thread then
				}
				t.Run(c.name+"/"+unix.ErrnoName(errno), func(t *testing.T) {
					refused := func(args ...string) *exec.Cmd {
						return s.role("refuser", append([]string{strconv.Itoa(int(c.number)), strconv.Itoa(c.first), strconv.Itoa(int(errno))}, args...)...)
					}
					p := start(t, refused(s.args("--", "sh", "-c", "exit 3")...))
					switch code := p.code(); {
					case code == launch.ExitFailure && s.strategy != "linux/subreaper":
						if p.stderr() == "" {
							t.Error("not a word")
						}
						t.Log(p.stderr())
					case code != 3 || p.stderr() != "":
						t.Fatalf("exit code %d, %q", code, p.stderr())
					}
					s.keptIfRefused(t, refused)
				})
			}
		}
	})
}

// keptIfRefused asserts what contain run promises without a flag, which is no less.
func (s *setting) keptIfRefused(t *testing.T, refused func(args ...string) *exec.Cmd) {
	t.Helper()
	bare := func(cmd ...string) []string { return append([]string{s.bin, "run", "--"}, cmd...) }
	t.Run("leader exits", func(t *testing.T) {
		live := newLiveness(t)
		p := start(t, live.carry(refused(bare("sh", "-c", `setsid sleep 1000 & exit 4`)...)))
		if code := p.code(); code != 4 || p.stderr() != "" {
			t.Errorf("exit code %d, %q", code, p.stderr())
		}
		live.wantGone()
	})
	t.Run("contain killed", func(t *testing.T) {
		live := newLiveness(t)
		p := start(t, live.carry(refused(bare("sh", "-c", runaway)...)))
		live.expectAll("leader", "daemon")
		_ = p.cmd.Process.Kill()
		live.wantGone()
	})
	t.Run("parent killed", func(t *testing.T) {
		live := newLiveness(t)
		p := start(t, live.carry(refused(append([]string{"/bin/sh", "-c", `"$@" & wait`, "sh"}, bare("sh", "-c", orderly)...)...)))
		live.expectAll("ready", "daemon")
		_ = p.cmd.Process.Kill()
		if wrote := live.wantGone(); len(wrote) != 1 || wrote[0] != "TERM" {
			t.Errorf("it wrote %q, want TERM", wrote)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		p := start(t, refused(bare("sh", "-c", `echo ready; kill -STOP $$; echo continued`)...))
		p.expect("ready")
		contain := p.cmd.Process.Pid
		eventually(t, "contain stops with its command", func() bool { return state(contain) == "T" })
		p.send(unix.SIGCONT)
		p.expect("continued")
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d, %q", code, p.stderr())
		}
	})
}
