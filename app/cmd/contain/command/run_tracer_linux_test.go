package command

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracing is the state of the role "tracer": it starts a caller that starts
// contain run, follows all of them by ptrace(2), stops the n-th system call of
// one of them, and kills one of them there. What it traced runs on when it exits.
type tracing struct {
	victim  victim
	stopped string
	left    int // steps until the kill

	caller, contain, supervisor, leader int
	target                              int    // whose steps are counted
	lastCall                            uint64 // consecutive calls of one kind are one step
	// A child may stop before its birth is reported; it is held until then.
	known, held map[int]bool
	// While the supervisor's steps are counted the leader is held, too, until the
	// supervisor waits for it: else its exec might come first.
	waiting bool
}

// tracer's arguments: VICTIM SUPERVISOR|LEADER N COMMAND...
func tracer() {
	runtime.LockOSThread() // the tracer is a thread
	n, _ := strconv.Atoi(os.Args[3])
	tr := &tracing{victim: victim(os.Args[1]), stopped: os.Args[2], left: n, known: map[int]bool{}, held: map[int]bool{}}
	cmd := exec.Command("sh", append([]string{"-c", `read go; "$@" & wait`, "sh"}, os.Args[4:]...)...)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begin, err := cmd.StdinPipe()
	tr.must("pipe", err)
	tr.must("start", cmd.Start())
	_ = cmd.ExtraFiles[0].Close()
	tr.caller = cmd.Process.Pid
	tr.known[tr.caller] = true
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACESYSGOOD
	// Seized, not traced from its start: so no SIGSTOP is left behind in its children.
	tr.must("seize", ptrace(unix.PTRACE_SEIZE, tr.caller, 0, options))
	_, err = begin.Write([]byte("go\n"))
	tr.must("begin", err)
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		tr.must("wait", err)
		switch {
		case !ws.Stopped():
		case !tr.known[tid] || tid == tr.leader && tr.early():
			tr.held[tid] = true
		default:
			tr.resume(tid, tr.stop(tid, ws))
		}
	}
}

func (tr *tracing) must(what string, err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(1)
	}
}

// stop looks at why tid has stopped, and returns the signal to resume it with.
func (tr *tracing) stop(tid int, ws unix.WaitStatus) (sig int) {
	event := int(ws) >> 16
	switch {
	case event == unix.PTRACE_EVENT_FORK || event == unix.PTRACE_EVENT_VFORK || event == unix.PTRACE_EVENT_CLONE:
		tr.born(tid, event)
	case event == unix.PTRACE_EVENT_EXEC:
		tr.executed(tid)
	case event == unix.PTRACE_EVENT_STOP:
	case ws.StopSignal() == unix.SIGTRAP|0x80:
		if tid == tr.target {
			tr.call(tid)
		}
	default:
		return int(ws.StopSignal())
	}
	return 0
}

func (tr *tracing) born(parent, event int) {
	var child uint
	tr.must("event", ptrace(unix.PTRACE_GETEVENTMSG, parent, 0, uintptr(unsafe.Pointer(&child))))
	isThread := status(int(child), "Tgid") != strconv.Itoa(int(child))
	switch group, _ := strconv.Atoi(status(parent, "Tgid")); {
	case isThread:
	case group == tr.caller && tr.contain == 0:
		tr.contain = int(child)
	case group == tr.contain && tr.supervisor == 0:
		tr.supervisor = int(child)
		if tr.stopped == "supervisor" {
			tr.target = tr.supervisor
		}
	case group == tr.supervisor && tr.leader == 0:
		tr.leader = int(child)
		if tr.stopped == "leader" {
			tr.target = tr.leader
		}
	}
	tr.known[int(child)] = true
	if tr.held[int(child)] && (int(child) != tr.leader || !tr.early()) {
		tr.resume(int(child), 0)
	}
}

// early reports whether the leader is still to be held.
func (tr *tracing) early() bool { return tr.stopped == "supervisor" && !tr.waiting }

// executed ends the counting at the command's exec, and all of it with the caller.
func (tr *tracing) executed(tid int) {
	if tid == tr.leader {
		tr.must("kill", unix.Kill(tr.caller, unix.SIGKILL))
		fmt.Println("end")
		os.Exit(0)
	}
}

// call counts the steps. It kills the victim at the one that is wanted, before
// the system call is carried out.
func (tr *tracing) call(tid int) {
	var info struct {
		op   uint8
		_    [7]byte
		ip   uint64
		sp   uint64
		nr   uint64
		args [7]uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		tr.must("system call", errno)
	}
	if info.op != unix.PTRACE_SYSCALL_INFO_ENTRY || info.nr == tr.lastCall {
		return
	}
	tr.lastCall = info.nr
	if tr.left--; tr.left > 0 {
		if info.nr == unix.SYS_PPOLL && tr.leader != 0 && tr.early() {
			if tr.waiting = true; tr.held[tr.leader] {
				tr.resume(tr.leader, 0)
			}
		}
		return
	}
	tr.kill()
	fmt.Println(info.nr)
	os.Exit(0)
}

// kill ends the victim, and returns when it is a zombie or gone: all that time
// the process whose step it is stands still.
func (tr *tracing) kill() {
	pid := map[victim]int{contain: tr.contain, caller: tr.caller, supervisor: tr.supervisor}[tr.victim]
	tr.must("kill", unix.Kill(pid, unix.SIGKILL))
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case err != nil:
			tr.must("wait for the victim", err)
		case tid == pid && (ws.Signaled() || ws.Exited()):
			return
		case tid > 0 && ws.Stopped() && tid != tr.target:
			tr.resume(tid, 0)
		}
	}
}

// resume lets tid run to its next event or, if it is watched, to its next system call.
func (tr *tracing) resume(tid, sig int) {
	request := unix.PTRACE_CONT
	if tid == tr.target || tid == tr.supervisor || tid == tr.leader {
		request = unix.PTRACE_SYSCALL
	}
	// It may have been killed meanwhile.
	if err := ptrace(request, tid, 0, uintptr(sig)); err != nil && err != unix.ESRCH {
		tr.must("resume", err)
	}
}

func ptrace(request, pid int, addr, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
