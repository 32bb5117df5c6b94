package command

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// realTime is a real-time signal that neither the C library nor the Go runtime uses.
const realTime, fence = syscall.Signal(40), syscall.Signal(41)

// counting is a command that says "ready.", then "got N." for each of the signals
// and the fence that it gets. Not a shell: that may notice a signal late.
func (s *setting) counting(signals ...syscall.Signal) []string {
	// The Go runtime sends SIGURG to itself, unless it is told not to.
	args := []string{"env", roleEnv + "=counter", "GODEBUG=asyncpreemptoff=1", s.bin}
	for _, sig := range append(signals, fence) {
		args = append(args, strconv.Itoa(int(sig)))
	}
	return args
}

func got(sig syscall.Signal) string { return fmt.Sprintf("got %d.", int(sig)) }

// counter is the role of counting.
func counter() {
	caught := make(chan os.Signal, 64)
	for _, arg := range os.Args[1:] {
		n, _ := strconv.Atoi(arg)
		signal.Notify(caught, syscall.Signal(n))
	}
	fmt.Println("ready.")
	for sig := range caught {
		fmt.Println(got(sig.(syscall.Signal)))
	}
}

// queue is the role of a command that counts each instance of a real-time
// signal. It blocks them before exec, and so in every thread of the next image.
func queue() {
	var set unix.Sigset_t
	const word = 8 * int(unsafe.Sizeof(set.Val[0]))
	for _, sig := range []syscall.Signal{realTime, fence} {
		set.Val[(int(sig)-1)/word] |= 1 << ((int(sig) - 1) % word)
	}
	const blocked = "CONTAIN_TEST_BLOCKED"
	if os.Getenv(blocked) == "" {
		_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
		fmt.Println(syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), roleEnv+"=queue", blocked+"=1")))
		return
	}
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready.")
	for {
		var info unix.SignalfdSiginfo
		n, err := unix.Read(fd, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info)))
		if n != int(unsafe.Sizeof(info)) {
			fmt.Println(n, err)
			return
		}
		fmt.Println(got(syscall.Signal(info.Signo)))
	}
}

// TestRunForwardsOnce: every signal but CHLD, which is about contain itself,
// reaches the command once. The second of two would arrive before the fence,
// for what is forwarded keeps its order.
func TestRunForwardsOnce(t *testing.T) {
	forwarded := []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM,
		unix.SIGWINCH, unix.SIGCONT, unix.SIGALRM, realTime,
	}
	if relaysOthers {
		forwarded = append(forwarded, unix.SIGPIPE, unix.SIGURG, unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS,
			unix.SIGABRT, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGIO, unix.SIGPWR, unix.SIGSTKFLT)
	}
	own := []syscall.Signal{unix.SIGCHLD}
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run(append([]string{"--grace", "1m", "--"}, s.counting(append(forwarded, own...)...)...)...))
		p.expect("ready.")
		for _, sig := range forwarded {
			for range 3 {
				p.send(sig)
				p.expect(got(sig))
				p.send(fence)
				p.expect(got(fence))
			}
		}
		for _, sig := range own {
			p.send(sig)
			p.send(fence)
			p.expect(got(fence))
		}
	})
}

// relaysOthers: see package supervisor.
const relaysOthers = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// TestRunForwardsProfiling: SIGPROF, which no Go program can be asked to count.
func TestRunForwardsProfiling(t *testing.T) {
	if !relaysOthers {
		t.Skip("os/signal cannot pass it on")
	}
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run("--", "sh", "-c", `trap "echo PROF" PROF; echo ready; while :; do sleep 0.01; done`))
		p.expect("ready")
		for range 3 {
			p.send(unix.SIGPROF)
			p.expect("PROF")
		}
	})
}

// TestRunMergesRepetitions: of two signals that one sender sends at once the command
// sees one, as if it were started plainly, where the kernel merges what is pending; of
// two that are apart, both.
func TestRunMergesRepetitions(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run(append([]string{"--"}, s.counting(unix.SIGUSR1)...)...))
		p.expect("ready.")
		twice := func() (seen int) {
			time.Sleep(apart)
			for range 2 {
				if err := p.cmd.Process.Signal(unix.SIGUSR1); err != nil {
					t.Fatal(err)
				}
			}
			p.expect(got(unix.SIGUSR1)) // a fence may overtake what another thread of contain receives
			p.send(fence)
			for seen = 1; p.hear("signals") != got(fence); {
				seen++
			}
			return seen
		}
		// A host that is busy enough may keep any two of them apart.
		merged := 0
		for try := 0; merged < 12; try++ {
			if merged++; twice() > 1 {
				merged = 0
			}
			if try > 1000 {
				t.Fatal("of two signals at once the command sees two")
			}
		}
		for range 3 {
			p.send(unix.SIGUSR1)
			p.expect(got(unix.SIGUSR1))
		}
	})
}

// TestRunGroup: with --group a signal reaches CMD's process group, and without CMD.
func TestRunGroup(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, group := range []bool{true, false} {
			flags := append([]string{fmt.Sprintf("--group=%v", group), "--", "sh", "-c", `trap : USR1; "$@" & while :; do wait; done`, "sh"},
				s.counting(unix.SIGUSR1)...)
			p := start(t, s.run(flags...))
			p.expect("ready.")
			_, leader := below(t, p.cmd.Process.Pid)
			p.send(unix.SIGUSR1)
			if group {
				p.expect(got(unix.SIGUSR1))
			}
			for _, child := range childrenOf(leader) {
				s.kill(t, child, fence)
			}
			p.expect(got(fence))
			_ = p.cmd.Process.Kill()
		}
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--group", "--", "sh", "-c", `trap "echo bye; exit 3" TERM; sh -c "echo ready; exec sleep 1000"; :`)))
		p.expect("ready")
		p.send(unix.SIGTERM)
		p.expect("bye")
		if code := p.code(); code != 3 {
			t.Errorf("exit code %d, want 3; %s", code, p.stderr())
		}
		live.wantGone()
	})
}

// TestTerminalGroup: a group that is contain's own is not signalled.
func TestTerminalGroup(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		tt := s.shell(t)
		tt.write(s.line("--group", "--", "echo", "ran") + ` 2>&1 | grep -c "process group"` + "\n")
		tt.only("1")
	})
}

// TestRunBlocked: what was blocked when contain was executed is blocked for the command,
// and is passed on to it all the same, where it is pending then.
func TestRunBlocked(t *testing.T) {
	blocked := []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH, unix.SIGPIPE, unix.SIGIO, realTime}
	eachStart(t, func(t *testing.T, s *setting, with func(cmd ...string) []string) {
		args := append([]string{"blocker"}, with("sh", "-c", `echo $$; trap "exit 3" TERM; while :; do read x; done`)...)
		p := start(t, s.role(args[0], args[1:]...))
		_ = p.hear("the PID")
		leader := p.cmd.Process.Pid
		if !strings.Contains(t.Name(), "plainly") {
			_, leader = below(t, leader)
		}
		has := signalSet(t, leader, "SigBlk")
		for _, sig := range blocked {
			if !has(sig) {
				t.Errorf("the command has not blocked %v: %s", sig, status(leader, "SigBlk"))
			}
			if sig == unix.SIGPIPE && !relaysOthers {
				continue
			}
			p.send(sig)
			eventually(t, sig.String()+" is pending", func() bool { return signalSet(t, leader, "ShdPnd")(sig) })
		}
		if has(unix.SIGXCPU) {
			t.Errorf("the command has blocked more: %s", status(leader, "SigBlk"))
		}
		_ = p.cmd.Process.Kill()
	})
}

// blocker is the role of a program that blocks signals and executes a command.
func blocker() {
	runtime.LockOSThread()
	var set unix.Sigset_t
	const word = 8 * int(unsafe.Sizeof(set.Val[0]))
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGWINCH, unix.SIGPIPE, unix.SIGIO, realTime} {
		set.Val[(int(sig)-1)/word] |= 1 << ((int(sig) - 1) % word)
	}
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
	}
	if err == nil {
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestRunRealTimeQueues: several instances of a real-time signal stay several.
func TestRunRealTimeQueues(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run("--", "env", roleEnv+"=queue", s.bin))
		p.expect("ready.")
		const n = 50
		for range n {
			p.send(realTime)
		}
		for range n {
			p.expect(got(realTime))
		}
		p.send(fence)
		p.expect(got(fence))
	})
}

// TestRunGrace: a command that ignores SIGTERM is ended by force after the grace.
func TestRunGrace(t *testing.T) {
	const grace = 300 * time.Millisecond
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--grace", grace.String(), "--", "sh", "-c",
			`trap "" TERM HUP INT; setsid sleep 1000 & echo ready; exec sleep 1000`)))
		p.expect("ready")
		p.send(unix.SIGHUP)
		p.send(unix.SIGINT)
		select { // that nothing happens can only be seen by waiting
		case <-p.ended:
			t.Fatalf("HUP and INT ended it: %v", p.cmd.ProcessState)
		case <-time.After(2 * grace):
		}
		began := time.Now()
		p.send(unix.SIGTERM)
		if code := p.code(); code != 137 {
			t.Errorf("exit code %d, want 137", code)
		}
		if took := time.Since(began); took < grace || took > grace+2*time.Second {
			t.Errorf("TERM to the end took %v, the grace is %v", took, grace)
		}
		live.wantGone()
	})
}

// TestRunGraceful: a command that ends within the grace is not disturbed.
func TestRunGraceful(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run("--", "sh", "-c", `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done`))
		p.expect("ready")
		p.send(unix.SIGTERM)
		p.expect("bye")
		if code := p.code(); code != 3 || p.stderr() != "" {
			t.Errorf("exit code %d, want 3; standard error %q", code, p.stderr())
		}
	})
}

// TestRunKeepsIgnored: what was ignored at the start stays ignored, here and in
// the command. The Go runtime keeps only HUP and INT ignored.
func TestRunKeepsIgnored(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		a := append([]string{"-c", `trap "" HUP INT; exec "$@"`, "sh"}, s.args("--", "sh", "-c", "echo ready; while read x; do echo $x; done")...)
		p := start(t, s.command("sh", a...))
		p.expect("ready")
		_, leader := below(t, p.cmd.Process.Pid)
		for who, pid := range map[string]int{"contain": p.cmd.Process.Pid, "the command": leader} {
			ignores := signalSet(t, pid, "SigIgn")
			for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT} {
				if !ignores(sig) {
					t.Errorf("%s does not ignore %v", who, sig)
				}
			}
			if ignores(unix.SIGTERM) || ignores(unix.SIGPIPE) || ignores(unix.SIGQUIT) {
				t.Errorf("%s ignores more: %s", who, status(pid, "SigIgn"))
			}
		}
		p.send(unix.SIGHUP)
		p.send(unix.SIGINT)
		if _, err := p.in.Write([]byte("alive\n")); err != nil {
			t.Fatal(err)
		}
		p.expect("alive")
	})
}

// TestRunMasks: the command starts with no signal blocked and none ignored.
func TestRunMasks(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		out, err := s.run("--", "grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status").Output()
		plain, err2 := s.command("grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status").Output()
		if err != nil || err2 != nil || string(out) != string(plain) {
			t.Errorf("%v %v\n%s, plainly started:\n%s", err, err2, out, plain)
		}
	})
}

// TestRunExitCodes: contain ends as its command did, without a word or a core.
func TestRunExitCodes(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		codes := []int{0, 1, 2, 3, 63, 64, 125, 126, 127, 128, 129, 137, 143, 254, 255}
		if full() {
			codes = codes[:0]
			for code := range 256 {
				codes = append(codes, code)
			}
		}
		for _, code := range codes {
			p := start(t, s.run("--", "sh", "-c", "exit "+strconv.Itoa(code)))
			if got := p.code(); got != code || p.stderr() != "" {
				t.Errorf("exit code %d, want %d; standard error %q", got, code, p.stderr())
			}
		}
		for _, sig := range []syscall.Signal{
			unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
			unix.SIGKILL, unix.SIGUSR1, unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGXCPU,
			unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGSYS, realTime,
		} {
			dir := filepath.Join(filepath.Dir(s.bin), filepath.Base(t.Name()), strconv.Itoa(int(sig)))
			err := os.MkdirAll(dir, 0o777)
			if err == nil {
				err = os.Chmod(dir, 0o777)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := s.run("--", "sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", sig))
			cmd.Dir = dir
			p := start(t, cmd)
			if got := p.code(); got != 128+int(sig) || p.stderr() != "" {
				t.Errorf("%v: exit code %d, want %d; standard error %q", sig, got, 128+int(sig), p.stderr())
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v: %v %v, want no core", sig, left, err)
			}
		}
	})
}

// TestRunEndsWhatIsLeft: when contain has exited, nothing is left, at once.
func TestRunEndsWhatIsLeft(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--", "sh", "-c",
			`(setsid sh -c 'trap "" TERM HUP; echo daemon >&3; sleep 1000; sleep 1000' &) ; sleep 1000 & exit 5`)))
		if code := p.code(); code != 5 {
			t.Errorf("exit code %d, want 5", code)
		}
		// Gone means gone before contain was: a scheduler's slack is granted to the reader.
		if _, ok := live.gone(50 * time.Millisecond); !ok {
			t.Error("contain has exited before what it contains")
		}
	})
}

// TestRunAsksWhatIsLeft: with --on-exit=term what CMD leaves, a daemon too, is asked to end
// and has the grace for it. The control is the default: it hears nothing.
func TestRunAsksWhatIsLeft(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		const polite = `trap "echo asked >&3; exit" TERM; echo ready; while :; do sleep 0.02; done`
		leaves := func(what string) string { // CMD exits when its standard input ends
			return `setsid sh -c '(setsid sh -c '"'"'` + what + `'"'"' &)' </dev/null; cat >/dev/null; exit 5`
		}
		for _, row := range []struct {
			what string
			args []string
			want string // of what is left, on descriptor 3
		}{
			{polite, []string{"--on-exit=term", "--grace", "1h"}, "asked"},
			{polite, []string{"--on-exit=term"}, "asked"}, // within five seconds, or so it seems
			{`trap "" TERM; echo ready; while :; do sleep 0.02; done`, []string{"--on-exit=term", "--grace", "1ms"}, ""},
			{polite, []string{"--on-exit=kill"}, ""},
		} {
			live := newLiveness(t)
			p := start(t, live.carry(s.run(append(row.args, "--", "sh", "-c", leaves(row.what))...)))
			p.expect("ready")
			p.in.Close()
			if code := p.code(); code != 5 {
				t.Errorf("%q: exit code %d, want 5; %s", row.args, code, p.stderr())
			}
			if got, ok := live.gone(50 * time.Millisecond); !ok || strings.Join(got, " ") != row.want {
				t.Errorf("%q: what is left said %q, want %q; gone: %v", row.args, got, row.want, ok)
			}
		}
	})
}

// TestRunLetsGoOfStdout: a command that closes its output is alone in having it.
func TestRunLetsGoOfStdout(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		cmd := s.run("--", "sh", "-c", `echo ready; exec >&- 2>&-; exec sleep 1000`)
		p := start(t, cmd)
		p.expect("ready")
		select {
		case got, open := <-p.lines:
			if open {
				t.Errorf("%q", got)
			}
		case <-time.After(deadline):
			t.Error("the output stays open while the command lives")
		}
		select {
		case <-p.ended:
			t.Error("it has ended")
		default:
		}
	})
}
