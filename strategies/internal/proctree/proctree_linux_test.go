package proctree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const childEnv = "PROCTREE_TEST_CHILD"

func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread() // init and main stay on the first thread then
	}
}

// TestMain is also the child with an odd name and the one without a first thread.
func TestMain(m *testing.M) {
	name := os.Getenv(childEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if name == withoutFirstThread {
		unix.RawSyscallNoError(unix.SYS_EXIT, 0, 0, 0)
	}
	select {}
}

const withoutFirstThread = "no-first-thread"

// run starts cmd in a process group of its own, waits until it has said
// "ready", and ends the whole group when the test ends.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The leader is not reaped before, so its group's number is still its own.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%s said %q, %v", cmd.Path, line, err)
	}
}

func self(t testing.TB, name string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// shell runs a script that says ready and reads its standard input.
func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

const wait = `echo ready; read x`

// forest is a shell with `shells` shells below it that each have `sleeps` sleeps.
func forest(shells, sleeps int) *exec.Cmd {
	return shell(fmt.Sprintf(`
		{ i=0; while [ $i -lt %d ]; do
			( j=0; while [ $j -lt %d ]; do sleep 1000 & j=$((j+1)); done; echo sub; wait ) &
			i=$((i+1))
		done; wait; } | { k=0; while [ $k -lt %d ]; do read line; k=$((k+1)); done; echo ready; read x; }`, shells, sleeps, shells))
}

func descend(t testing.TB, root int) []Process {
	t.Helper()
	found, err := Descendants(root)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func named(ps []Process, name string) (found []Process) {
	for _, p := range ps {
		if p.Name == name {
			found = append(found, p)
		}
	}
	return found
}

// eventually tries ok until it is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 6 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2 18446744073709551615"
	for _, tt := range []struct {
		line string
		want stat
		bad  bool
	}{
		{line: "12 (sh) S 7" + rest, want: stat{Process{12, 7, 6, 4711, "sh", false}, 4194560, 3}},
		{line: "12 (a) R 1 (b) c) S 7" + rest, want: stat{Process{12, 7, 6, 4711, "a) R 1 (b) c", false}, 4194560, 3}},
		{line: "12 () S 7" + rest, want: stat{Process{12, 7, 6, 4711, "", false}, 4194560, 3}},
		{line: "12 (a\nb) S 7" + rest + "\n", want: stat{Process{12, 7, 6, 4711, "a\nb", false}, 4194560, 3}},
		{line: "12 (sh) Z 7" + rest, want: stat{Process{12, 7, 6, 4711, "sh", false}, 4194560, 3}},
		{line: "12 (sh) Z 7" + strings.Replace(rest, " 3 0 4711", " 1 0 4711", 1), want: stat{Process{12, 7, 6, 4711, "sh", true}, 4194560, 1}},
		{line: "12 (sh) X 0" + strings.Replace(rest, " 3 0 4711", " 0 0 4711", 1), want: stat{Process{12, 0, 6, 4711, "sh", true}, 4194560, 0}},
		{line: "", bad: true},
		{line: "12", bad: true},
		{line: "12 (sh", bad: true},
		{line: "12 )sh( S 7" + rest, bad: true},
		{line: "12 (sh) S 7 6 1", bad: true},
		{line: "x (sh) S 7" + rest, bad: true},
		{line: "12 (sh) S x" + rest, bad: true},
	} {
		got, err := parseStat([]byte(tt.line))
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %+v, %v", tt.line, got, err)
		}
	}
}

func TestOddName(t *testing.T) {
	const name = "a) S 1 (b\n)"
	cmd := self(t, name)
	run(t, cmd)
	p, err := Lookup(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != name || p.PPID != os.Getpid() || p.Zombie || p.Start == 0 {
		t.Errorf("got %+v", p)
	}
}

func TestTree(t *testing.T) {
	cmd := forest(3, 4)
	run(t, cmd)
	eventually(t, "12 sleeps below 3 shells", func() bool {
		return len(named(descend(t, cmd.Process.Pid), "sleep")) == 12
	})
	found := descend(t, cmd.Process.Pid)
	seen := map[int]bool{cmd.Process.Pid: true}
	for _, p := range found {
		if !seen[p.PPID] {
			t.Errorf("%+v comes before its parent", p)
		}
		if seen[p.PID] {
			t.Errorf("%+v comes twice, or is the root", p)
		}
		seen[p.PID] = true
	}
	table, err := All()
	if err != nil {
		t.Fatal(err)
	}
	scanned := Below(table, cmd.Process.Pid)
	byPID := func(a, b Process) int { return a.PID - b.PID }
	slices.SortFunc(found, byPID)
	slices.SortFunc(scanned, byPID)
	if !slices.Equal(found, scanned) {
		t.Errorf("by lists of children:\n%v\nby a scan:\n%v", found, scanned)
	}
	for _, p := range Alive(found) {
		if err := Signal(p, unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	eventually(t, "all are dead", func() bool { return len(Alive(descend(t, cmd.Process.Pid))) == 0 })
}

func TestZombie(t *testing.T) {
	cmd := shell("exit 3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	var p Process
	eventually(t, "the child is a zombie", func() bool {
		var err error
		if p, err = Lookup(pid); err != nil {
			t.Fatal(err)
		}
		return p.Zombie
	})
	if all := descend(t, os.Getpid()); !slices.Contains(all, p) || slices.Contains(Alive(all), p) {
		t.Errorf("%+v must be among the descendants and not among the living: %v", p, all)
	}
	if err := Signal(p, unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal to a zombie: %v", err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("Wait: %v", err)
	}
	if _, err := Lookup(pid); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Lookup after Wait: %v", err)
	}
	if found, err := Descendants(pid); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Descendants after Wait: %v, %v", found, err)
	}
	if err := errors.Join(Signal(p, unix.SIGTERM)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after Wait: %v", err)
	}
}

// TestExecuted: a child that has been forked and lives may be about to execute something.
// Only of one that has died before is it known that it never did.
func TestExecuted(t *testing.T) {
	cmd := shell(wait)
	run(t, cmd)
	if ok, err := Executed(cmd.Process.Pid); !ok || err != nil {
		t.Errorf("of a shell: %v, %v", ok, err)
	}

	pid := forkOnly(t)
	type answer struct {
		ok  bool
		err error
	}
	said := make(chan answer, 1)
	go func() {
		ok, err := Executed(pid)
		said <- answer{ok, err}
	}()
	select {
	case a := <-said:
		t.Errorf("of a child that lives and has not executed anything: %+v", a)
		said <- a
	case <-time.After(50 * time.Millisecond): // more only makes a failure more certain
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil { // our child, not collected: it is still that one
		t.Fatal(err)
	}
	if a := <-said; a.ok || a.err != nil {
		t.Errorf("of a child that died before it had executed anything: %+v", a)
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Executed(pid); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("of a child that has been collected: %v", err)
	}
}

// forkOnly forks a child that waits without executing anything, for the end of this process
// or a signal.
//
//go:norace
func forkOnly(t *testing.T) int {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 { // no stack, no lock, no allocation from here on
		unix.RawSyscall(unix.SYS_CLOSE, uintptr(pipe[1]), 0, 0)
		unix.RawSyscall(unix.SYS_READ, uintptr(pipe[0]), uintptr(unsafe.Pointer(&b[0])), 1)
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	unix.Close(pipe[0])
	t.Cleanup(func() { unix.Close(pipe[1]) })
	if errno != 0 {
		t.Fatal(errno)
	}
	return int(pid)
}

// TestFirstThreadGone: the state of such a process reads Z though it lives.
func TestFirstThreadGone(t *testing.T) {
	cmd := self(t, withoutFirstThread)
	run(t, cmd)
	eventually(t, "the first thread has exited", func() bool {
		line, err := newReader().read(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		return err == nil && strings.Contains(string(line), ") Z ")
	})
	p, err := Lookup(cmd.Process.Pid)
	if err != nil || p.Zombie {
		t.Fatalf("a process with live threads: %+v, %v", p, err)
	}
	if err := Signal(p, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	eventually(t, "it is a zombie", func() bool {
		p, err := Lookup(cmd.Process.Pid)
		return err == nil && p.Zombie
	})
}

func TestSignalNeedsTheIdentity(t *testing.T) {
	for name, send := range map[string]func(Process, syscall.Signal) error{"pidfd": signal, "pid": signalByPID} {
		t.Run(name, func(t *testing.T) {
			cmd := shell(wait)
			run(t, cmd)
			p, err := Lookup(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			earlier := p
			earlier.Start--
			if err := send(earlier, unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal to an earlier owner of the PID: %v", err)
			}
			if now, err := Lookup(p.PID); err != nil || now.Zombie {
				t.Fatalf("it reached the present owner: %+v, %v", now, err)
			}
			if err := send(p, unix.SIGKILL); err != nil {
				t.Error(err)
			}
			eventually(t, "it is dead", func() bool {
				now, err := Lookup(p.PID)
				return err == nil && now.Zombie
			})
		})
	}
	for _, p := range []Process{{}, {PID: -1, Start: 1}, {PID: os.Getpid()}} {
		if err := Signal(p, 0); err == nil {
			t.Errorf("%+v was signalled", p)
		}
	}
}

// TestChurn walks while children come and go: those that stay must be in every walk.
func TestChurn(t *testing.T) {
	const stay = 20
	cmd := shell(fmt.Sprintf(`
		while :; do /bin/true & /bin/true & wait $!; done &
		i=0; while [ $i -lt %d ]; do sleep 1000 & /bin/true & i=$((i+1)); done
		echo ready
		while :; do /bin/true & /bin/true; done`, stay))
	run(t, cmd)
	eventually(t, "the sleeps run", func() bool { return len(named(descend(t, cmd.Process.Pid), "sleep")) == stay })
	for i := range 300 {
		if n := len(named(descend(t, cmd.Process.Pid), "sleep")); n != stay {
			t.Fatalf("walk %d found %d of %d processes that stay", i, n, stay)
		}
	}
}

// TestThreadsThatExit: the kernel ends the list of a process's threads early where the one that is
// next has just ended. What a later thread has forked is found all the same.
func TestThreadsThatExit(t *testing.T) {
	const rounds, threads = 300, 6
	walks, missed := 0, 0
	for range rounds {
		var exiting sync.WaitGroup
		exit := make(chan struct{})
		thread := func(f func()) {
			started := make(chan struct{})
			exiting.Go(func() {
				runtime.LockOSThread() // and return with the thread locked, which ends it
				f()
				close(started)
				<-exit
			})
			<-started
		}
		for range threads {
			thread(func() {})
		}
		cmd := exec.Command("/bin/sleep", "1000")
		lives := make(chan struct{})
		started := make(chan error)
		go func() { // on the last thread of all
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			started <- cmd.Start()
			<-lives
		}()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		close(exit)
		for range 20 {
			walks++
			if !slices.ContainsFunc(descend(t, os.Getpid()), func(p Process) bool { return p.PID == cmd.Process.Pid }) {
				missed++
			}
		}
		exiting.Wait()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(lives)
	}
	if missed > 0 {
		t.Errorf("%d of %d walks have not found a child that lives", missed, walks)
	}
}

// BenchmarkDescendants walks a tree of 1,000 processes.
func BenchmarkDescendants(b *testing.B) {
	cmd := forest(10, 99)
	run(b, cmd)
	eventually(b, "990 sleeps run", func() bool { return len(named(descend(b, cmd.Process.Pid), "sleep")) == 990 })
	for name, walk := range map[string]func(int) ([]Process, error){
		"children": Descendants,
		"scan": func(root int) ([]Process, error) {
			table, err := All()
			return Below(table, root), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found, err := walk(cmd.Process.Pid); err != nil || len(found) < 1000 {
					b.Fatalf("%d processes, %v", len(found), err)
				}
			}
		})
	}
}
