package windows

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/jobobject"
)

func ctx() context.Context { return context.Background() }

// An owner ends; the three generations of its backend are to go with it.
func TestOwnerEnds(t *testing.T) {
	for _, how := range []struct {
		owner    string
		survives bool
	}{
		{"install", false},
		{"nested install", false},
		{"refused install", false},
		{"", true}, // the control
	} {
		for _, end := range []string{"killed", "exit", "panic"} {
			t.Run(fmt.Sprintf("%s/%s", strings.ReplaceAll("owner "+how.owner, " ", "-"), end), func(t *testing.T) {
				cmd := role("owner", envOwner+"="+how.owner)
				cmd.Stderr = nil // the panic's traceback
				stdin, stdout, started := pipes(t, cmd)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				started()
				tree := announced(t, stdout, 3)
				if end == "killed" {
					cmd.Process.Kill()
				} else {
					fmt.Fprintln(stdin, end)
				}
				cmd.Wait()
				if how.survives {
					wantAlive(t, tree...)
				} else {
					wantGone(t, tree...)
				}
			})
		}
	}
}

// The owner is killed while it starts a backend.
func TestOwnerKilledWhileStarting(t *testing.T) {
	for _, tt := range []struct {
		owner    string
		survives bool
	}{
		{"suspended stop-before-assign install", false},
		{"suspended stop-before-resume install", false},
		{"suspended stop-before-resume refused install", false},
		{"stop-after-birth install", false},
		{"stop-after-birth refused install", false},
		// The control, and a declared limit: nothing holds the process yet, and it
		// has run nothing.
		{"suspended stop-before-assign refused install", true},
	} {
		t.Run(strings.ReplaceAll(tt.owner, " ", "-"), func(t *testing.T) {
			cmd := role("owner", envOwner+"="+tt.owner)
			_, stdout, started := pipes(t, cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			started()
			suspended := announced(t, stdout, 1)
			cmd.Process.Kill()
			cmd.Wait()
			if !tt.survives {
				wantGone(t, suspended...)
				return
			}
			wantAlive(t, suspended...)
			windows.TerminateProcess(suspended[0].handle, 1)
			if out, err := io.ReadAll(stdout); len(out) > 0 || err != nil {
				t.Errorf("a suspended process wrote %q (%v)", out, err)
			}
		})
	}
}

func TestLeaderExit(t *testing.T) {
	for _, on := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitWait, registry.LeaderExitLeave} {
		t.Run(on.String(), func(t *testing.T) {
			isolated(t, func(t *testing.T) { testLeaderExit(t, on) })
		})
	}
	t.Run("control", func(t *testing.T) {
		b := startTree(t, nil, role("node"), registry.StartOptions{})
		fmt.Fprintln(b.stdin)
		b.cmd.Wait()
		wantAlive(t, b.others()...)
	})
}

func testLeaderExit(t *testing.T, on registry.LeaderExit) {
	in := mustInstall(t)
	b := startTree(t, in, role("node"), registry.StartOptions{OnLeaderExit: on})
	wantNotDone(t, b.p)
	fmt.Fprintln(b.stdin)
	if code := exitCode(t, b.cmd.Wait()); code != leaderCode {
		t.Errorf("leader's exit code %d, want %d", code, leaderCode)
	}
	if err := b.p.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal to a leader that has exited: %v", err)
	}
	switch on {
	case registry.LeaderExitKill:
		wantGone(t, b.procs...)
		wantDone(t, b.p)
	case registry.LeaderExitWait:
		wantAlive(t, b.others()...)
		wantNotDone(t, b.p)
		if err := b.p.Kill(); err != nil {
			t.Error(err)
		}
		wantDone(t, b.p)
		wantGone(t, b.procs...)
	case registry.LeaderExitLeave:
		wantDone(t, b.p)
		if err := in.Close(ctx()); err != nil {
			t.Error(err)
		}
		wantAlive(t, b.others()...)
		// The declared limit: they are in the service's job for life.
		for _, p := range b.others() {
			if held, err := jobobject.Contains(p.handle, process.binding.job); err != nil || !held {
				t.Errorf("process %d left the service's job (%v)", p.pid, err)
			}
		}
	}
	if err := b.p.Kill(); err != nil {
		t.Errorf("Kill when done: %v", err)
	}
}

// What is left of a leader ends with the service, by its job, unless that job
// could not be.
func TestReaches(t *testing.T) {
	kills := map[string]func(b backendTree, cancel func()) error{
		"process-kill": func(b backendTree, _ func()) error { return b.cmd.Process.Kill() },
		"context":      func(_ backendTree, cancel func()) error { cancel(); return nil },
	}
	for name, kill := range kills {
		t.Run(name+"/control", func(t *testing.T) {
			c, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := startTree(t, nil, exec.CommandContext(c, os.Args[0]), registry.StartOptions{})
			kill(b, cancel)
			b.cmd.Wait()
			wantAlive(t, b.others()...)
		})
	}
	kills["signal"] = func(b backendTree, _ func()) error { return b.p.Signal(os.Kill) }
	kills["kill"] = func(b backendTree, _ func()) error { return b.p.Kill() }
	for name, kill := range kills {
		for _, on := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitWait} {
			if name == "process-kill" && on == registry.LeaderExitWait {
				continue // a declared limit
			}
			t.Run(name+"/"+on.String(), func(t *testing.T) {
				isolated(t, func(t *testing.T) {
					c, cancel := context.WithCancel(t.Context())
					defer cancel()
					b := startTree(t, mustInstall(t), exec.CommandContext(c, os.Args[0]), registry.StartOptions{OnLeaderExit: on})
					if err := kill(b, cancel); err != nil {
						t.Error(err)
					}
					if b.cmd.Wait() == nil {
						t.Error("the leader ended well")
					}
					wantGone(t, b.procs...)
					wantDone(t, b.p)
				})
			})
		}
	}
}

func TestTwoInstallsOneJob(t *testing.T) {
	isolated(t, func(t *testing.T) {
		created := 0
		replace(t, func(s *system) {
			create := s.createJob
			s.createJob = func(name string) (windows.Handle, error) { created++; return create(name) }
		})
		first, second := mustInstall(t), mustInstall(t)
		if created != 1 || first == second {
			t.Errorf("%d jobs for two installations", created)
		}
		for _, in := range []*installation{first, second} {
			if in.Cleanup() != registry.CleanupWindowsKillOnJobClose {
				t.Errorf("cleanup %q", in.Cleanup())
			}
		}
		if in, err := jobobject.Contains(windows.CurrentProcess(), process.binding.job); err != nil || !in {
			t.Errorf("this process is not in the job (%v)", err)
		}

		// Close ends only what its own installation started, and is final for it.
		a := startTree(t, first, role("node"), registry.StartOptions{})
		b := startTree(t, second, role("node"), registry.StartOptions{})
		if err := first.Close(ctx()); err != nil {
			t.Error(err)
		}
		wantGone(t, a.procs...)
		wantDone(t, a.p)
		wantAlive(t, b.procs...)
		if _, err := first.Start(role("exit"), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("Start after Close: %v", err)
		}
		if err := first.Close(ctx()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		third := mustInstall(t)
		c := startTree(t, third, role("node"), registry.StartOptions{})
		for _, in := range []*installation{second, third} {
			if err := in.Close(ctx()); err != nil {
				t.Error(err)
			}
		}
		wantGone(t, append(b.procs, c.procs...)...)
	})
}

func TestConcurrentStarts(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 3 {
					cmd := role("exit")
					p, err := registry.Start(in, cmd, registry.StartOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					if err := cmd.Wait(); err != nil {
						t.Error(err)
					}
					wantDone(t, p)
				}
			})
		}
		wg.Wait()

		// Starts that race with Close either fail or are ended.
		started := make(chan registry.Process, 100)
		for range 4 {
			wg.Go(func() {
				for {
					p, err := registry.Start(in, role("node"), registry.StartOptions{})
					if errors.Is(err, registry.ErrClosed) {
						return
					}
					if err != nil && !errors.Is(err, os.ErrProcessDone) {
						t.Error(err)
						return
					}
					if err == nil {
						started <- p
					}
				}
			})
		}
		first := <-started
		if err := in.Close(ctx()); err != nil {
			t.Error(err)
		}
		wantDone(t, first)
		wg.Wait()
		close(started)
		for p := range started {
			wantDone(t, p)
		}
	})
}

// failure is an error that only the test can have caused.
const failure = windows.ERROR_NOT_ENOUGH_QUOTA

// handleFlags fails if h is not open.
func handleFlags(h windows.Handle) (flags uint32, err error) {
	err = jobobject.Call(kernel32.NewProc("GetHandleInformation"), uintptr(h), uintptr(unsafe.Pointer(&flags)))
	return flags, err
}

func TestInstallFails(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*system)
		want   []error
	}{
		"create":       {func(s *system) { s.createJob = func(string) (windows.Handle, error) { return 0, failure } }, []error{registry.ErrJobCreate, failure}},
		"limits":       {func(s *system) { s.setLimits = func(windows.Handle, uint32) error { return failure } }, []error{registry.ErrJobCreate, failure}},
		"assign":       {failAssign(failure), []error{registry.ErrJobAssign, failure}},
		"not in a job": {failAssign(windows.ERROR_ACCESS_DENIED), []error{registry.ErrJobAssign, windows.ERROR_ACCESS_DENIED}},
		"in a job?": {func(s *system) {
			failAssign(windows.ERROR_ACCESS_DENIED)(s)
			s.inJob = func(windows.Handle, windows.Handle) (bool, error) { return false, failure }
		}, []error{registry.ErrJobAssign, windows.ERROR_ACCESS_DENIED, failure}},
	} {
		t.Run(name, func(t *testing.T) {
			isolated(t, func(t *testing.T) {
				saved, jobs := sys, recordJobs(t)
				tt.change(&sys)
				in, err := Job().Install(ctx(), registry.InstallOptions{})
				if in != nil {
					t.Error("there is an installation")
				}
				wantErrors(t, err, tt.want...)
				wantClosed(t, *jobs)
				sys = saved
				if mustInstall(t).Cleanup() != registry.CleanupWindowsKillOnJobClose {
					t.Error("does not install after a failure")
				}
			})
		})
	}
}

func failAssign(err error) func(*system) {
	return func(s *system) {
		s.assign = func(windows.Handle, windows.Handle) error { return err }
		s.inJob = func(windows.Handle, windows.Handle) (bool, error) { return false, nil }
	}
}

// recordJobs lists the jobs that are created from now on.
func recordJobs(t *testing.T) *[]windows.Handle {
	var jobs []windows.Handle
	replace(t, func(s *system) {
		create := s.createJob
		s.createJob = func(name string) (windows.Handle, error) {
			h, err := create(name)
			jobs = append(jobs, h)
			return h, err
		}
	})
	return &jobs
}

func wantClosed(t *testing.T, jobs []windows.Handle) {
	t.Helper()
	for _, h := range jobs {
		// The number may be in use again, but not for a job.
		if _, err := jobobject.Active(h); err == nil {
			t.Errorf("the handle of a job is left open")
		}
	}
}

func wantErrors(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("%v\ndoes not wrap %v", err, w)
		}
	}
	var e *registry.Error
	if !errors.As(err, &e) || e.Strategy != JobName {
		t.Errorf("%v is no *registry.Error of %s", err, JobName)
	}
}

func TestAlreadyInJob(t *testing.T) {
	isolated(t, func(t *testing.T) {
		jobs := recordJobs(t)
		replace(t, func(*system) { refuseSelf() })
		for range 2 {
			if got := mustInstall(t).Cleanup(); got != registry.CleanupWindowsAlreadyInJob {
				t.Errorf("cleanup %q", got)
			}
		}
		if len(*jobs) != 1 || process.binding.job != 0 {
			t.Errorf("%d jobs were created for this process", len(*jobs))
		}
		wantClosed(t, *jobs)
	})
}

func TestStartFails(t *testing.T) {
	atAssign := func(do func(process windows.Handle) error) func(*system) {
		return func(s *system) {
			assign := s.assign
			s.assign = func(job, process windows.Handle) error {
				if err := do(process); err != nil {
					return err
				}
				return assign(job, process)
			}
		}
	}
	kill := func(process windows.Handle) error {
		windows.TerminateProcess(process, 1)
		windows.WaitForSingleObject(process, windows.INFINITE)
		return nil
	}
	fail := func(err error) func(windows.Handle) error { return func(windows.Handle) error { return err } }
	for name, tt := range map[string]struct {
		change func(*system)
		want   []error
	}{
		"create":          {func(s *system) { s.createJob = func(string) (windows.Handle, error) { return 0, failure } }, []error{registry.ErrJobCreate, failure}},
		"limits":          {func(s *system) { s.setLimits = func(windows.Handle, uint32) error { return failure } }, []error{registry.ErrJobCreate, failure}},
		"port":            {func(s *system) { s.setPort = func(windows.Handle, uintptr, windows.Handle) error { return failure } }, []error{registry.ErrJobCreate, failure}},
		"assign":          {atAssign(fail(failure)), []error{registry.ErrJobAssign, failure}},
		"denied":          {atAssign(fail(windows.ERROR_ACCESS_DENIED)), []error{registry.ErrJobAssign, windows.ERROR_ACCESS_DENIED}},
		"denied, exited":  {atAssign(kill), []error{registry.ErrJobAssign, windows.ERROR_ACCESS_DENIED, os.ErrProcessDone}},
		"resume":          {func(s *system) { s.resume = fail(failure) }, []error{failure}},
		"resume, exited":  {func(s *system) { s.resume = func(p windows.Handle) error { kill(p); return failure } }, []error{os.ErrProcessDone}},
		"closed meantime": {nil, []error{registry.ErrClosed}},
	} {
		t.Run(name, func(t *testing.T) {
			isolated(t, func(t *testing.T) {
				in := mustInstall(t)
				jobs := recordJobs(t)
				if tt.change == nil {
					tt.change = atAssign(func(windows.Handle) error {
						over, cancel := context.WithCancel(ctx())
						cancel() // it does not wait for this start
						if err := in.Close(over); !errors.Is(err, context.Canceled) {
							t.Errorf("Close during the start: %v", err)
						}
						return nil
					})
				}
				tt.change(&sys)
				cmd := role("exit")
				_, stdout, started := pipes(t, cmd)
				p, err := registry.Start(in, cmd, registry.StartOptions{})
				started()
				if p != nil {
					t.Error("there is a process")
				}
				wantErrors(t, err, tt.want...)
				if (name == "denied, exited") != errors.Is(err, os.ErrProcessDone) && !strings.HasPrefix(name, "resume") {
					t.Errorf("%v: has it exited or not?", err)
				}
				wantClosed(t, *jobs)
				if cmd.Process != nil && cmd.ProcessState == nil {
					t.Error("the process was not waited for")
				}
				over, cancel := context.WithCancel(ctx())
				cancel() // one that is left would have to be waited for
				if err := in.Close(over); err != nil {
					t.Errorf("a backend is left: %v", err)
				}
				// Nothing holds the pipe, and nothing was written: no instruction ran.
				if out, err := io.ReadAll(stdout); len(out) > 0 || err != nil {
					t.Errorf("it wrote %q (%v)", out, err)
				}
			})
		})
	}
}

func TestStartErrorsAreExecs(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		notProgram := t.TempDir() + `\text.exe`
		if err := os.WriteFile(notProgram, []byte("no program"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{`C:\no\such\program.exe`, "no-such-program", notProgram} {
			want := exec.Command(path).Start()
			_, err := registry.Start(in, exec.Command(path), registry.StartOptions{})
			if want == nil || err == nil || err.Error() != want.Error() {
				t.Errorf("%s: %v, want %v", path, err, want)
			}
		}
		cmd := role("exit")
		if _, err := registry.Start(in, cmd, registry.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := registry.Start(in, cmd, registry.StartOptions{}); err == nil {
			t.Error("started twice")
		}
		if cmd.Start() == nil {
			t.Error("started twice, the second time outside of any job of ours")
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestAttributes(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		for _, flag := range []uint32{windows.CREATE_SUSPENDED, windows.CREATE_BREAKAWAY_FROM_JOB} {
			cmd := role("exit")
			cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: flag}
			_, err := registry.Start(in, cmd, registry.StartOptions{})
			wantErrors(t, err, registry.ErrNotPassed)
			if cmd.Process != nil {
				t.Error("it was started")
			}
		}
		cmd := role("exit")
		attr := &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
		before := *attr
		cmd.SysProcAttr = attr
		p, err := registry.Start(in, cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if cmd.SysProcAttr != attr || fmt.Sprint(*attr) != fmt.Sprint(before) {
			t.Errorf("SysProcAttr was changed: %+v", cmd.SysProcAttr)
		}
		if p.PID() != cmd.Process.Pid {
			t.Errorf("PID %d, want %d", p.PID(), cmd.Process.Pid)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestHandlesAreNotInheritable(t *testing.T) {
	isolated(t, func(t *testing.T) {
		b := startTree(t, mustInstall(t), role("node"), registry.StartOptions{}).p.(*backend)
		for name, h := range map[string]windows.Handle{
			"service's job": process.binding.job, "backend's job": b.job, "leader": b.leader, "port": process.watcher.port,
		} {
			if flags, err := handleFlags(h); err != nil || flags&windows.HANDLE_FLAG_INHERIT != 0 {
				t.Errorf("%s: flags %#x, %v", name, flags, err)
			}
		}
	})
}

func TestNoHandleLeak(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		start := func(i int) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envRole+"=exit")
			if i%2 == 0 { // with a pipe it is not born in its job
				cmd.Stdout = io.Discard
			}
			p, err := registry.Start(in, cmd, registry.StartOptions{})
			if err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			wantDone(t, p)
		}
		for i := range 10 { // what the runtime keeps
			start(i)
		}
		before := handleCount()
		for i := range 100 {
			start(i)
		}
		// Threads that the runtime adds have a few handles each.
		if after := handleCount(); before == 0 || after > before+40 {
			t.Errorf("%d handles before, %d after 100 backends", before, after)
		}
	})
}

// handleCount tries every number: GetProcessHandleCount answers 0 under Wine.
func handleCount() (n int) {
	for h := windows.Handle(4); h < 1<<14; h += 4 { // handles are multiples of 4
		if _, err := handleFlags(h); err == nil {
			n++
		}
	}
	return n
}

// No message of a job ever arrives, and all is as before.
func TestLostMessages(t *testing.T) {
	isolated(t, func(t *testing.T) {
		replace(t, func(s *system) {
			s.setPort = func(windows.Handle, uintptr, windows.Handle) error { return nil }
		})
		in := mustInstall(t)
		b := startTree(t, in, role("node"), registry.StartOptions{})
		fmt.Fprintln(b.stdin)
		wantGone(t, b.procs...)
		wantDone(t, b.p)
		c := startTree(t, in, role("node"), registry.StartOptions{})
		if err := in.Close(ctx()); err != nil {
			t.Error(err)
		}
		wantGone(t, c.procs...)
	})
}

// Close returns with ctx and names what is left; a later one ends it.
func TestCloseIsBounded(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		b := startTree(t, in, role("node"), registry.StartOptions{})
		terminate := sys.terminate
		b.p.(*backend).mu.Lock()
		sys.terminate = func(windows.Handle, uint32) error { return nil }
		b.p.(*backend).mu.Unlock()
		c, cancel := context.WithTimeout(ctx(), 50*time.Millisecond)
		defer cancel()
		err := in.Close(c)
		wantErrors(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), fmt.Sprint(b.p.PID())) {
			t.Errorf("%v does not name PID %d", err, b.p.PID())
		}
		b.p.(*backend).mu.Lock()
		sys.terminate = terminate
		b.p.(*backend).mu.Unlock()
		if err := in.Close(ctx()); err != nil {
			t.Error(err)
		}
		wantGone(t, b.procs...)
	})
}

// breakaway starts a node outside of this process's job, or says why not.
func breakaway() {
	cmd := role("node")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_BREAKAWAY_FROM_JOB}
	if err := cmd.Start(); errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		fmt.Println("denied", os.Getpid())
	} else if err != nil {
		panic(err)
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestBreakaway(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		for _, contained := range []bool{true, false} {
			cmd := role("breakaway")
			stdin, stdout, started := pipes(t, cmd)
			var err error
			if contained {
				_, err = registry.Start(in, cmd, registry.StartOptions{})
			} else {
				err = cmd.Start() // the service's own: allowed
			}
			started()
			if err != nil {
				t.Fatal(err)
			}
			line, err := stdout.ReadString('\n')
			if denied := strings.HasPrefix(line, "denied"); denied != contained {
				t.Errorf("contained %v: %q, %v", contained, line, err)
			}
			if !contained {
				var pid int
				fmt.Sscanf(line, "node %d", &pid)
				p := open(t, pid)
				if held, err := jobobject.Contains(p.handle, process.binding.job); held || err != nil {
					t.Errorf("broke away, and is in the service's job (%v)", err)
				}
			}
			fmt.Fprintln(stdin)
			cmd.Wait()
		}
	})
}

func TestMembers(t *testing.T) {
	isolated(t, func(t *testing.T) {
		// More than the list has room for at first.
		const width = 20
		cmd := role("node", envDepth+"=2", envWidth+"="+fmt.Sprint(width))
		_, stdout, started := pipes(t, cmd)
		p, err := registry.Start(mustInstall(t), cmd, registry.StartOptions{})
		started()
		if err != nil {
			t.Fatal(err)
		}
		procs := announced(t, stdout, 3+width)
		members, err := p.Members()
		if err != nil {
			t.Fatal(err)
		}
		for _, proc := range procs {
			i := slices.IndexFunc(members, func(m registry.Member) bool { return m.PID == proc.pid })
			if i < 0 || !strings.HasSuffix(members[i].Name, ".exe") {
				t.Errorf("process %d is missing, or has no name, in %v", proc.pid, members)
			}
		}
		if len(members) != len(procs) {
			t.Errorf("%d members, want %d", len(members), len(procs))
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		wantDone(t, p)
		if members, err := p.Members(); len(members) > 0 || err != nil {
			t.Errorf("members when done: %v, %v", members, err)
		}
	})
}

func TestNoGracefulEnd(t *testing.T) {
	isolated(t, func(t *testing.T) {
		replace(t, func(*system) {})
		in := mustInstall(t)
		for _, flags := range []uint32{0, windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS} {
			cmd := role("node")
			cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: flags}
			b := startTree(t, in, cmd, registry.StartOptions{})
			for _, err := range []error{b.p.Terminate(), b.p.Signal(os.Interrupt), b.p.Signal(syscall.SIGTERM), b.p.Signal(syscall.SIGHUP)} {
				wantErrors(t, err, errors.ErrUnsupported)
			}
			wantNotDone(t, b.p)
		}

		cmd := role("node")
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
		b := startTree(t, in, cmd, registry.StartOptions{})
		sys.hasConsole = func() error { return failure }
		wantErrors(t, b.p.Terminate(), errors.ErrUnsupported, failure)
		sys.hasConsole = func() error { return nil }
		sys.ctrlEvent = func(uint32, uint32) error { return failure }
		wantErrors(t, b.p.Terminate(), errors.ErrUnsupported, failure)
		var event, group uint32
		sys.ctrlEvent = func(e, g uint32) error { event, group = e, g; return nil }
		if err := b.p.Terminate(); err != nil || event != windows.CTRL_BREAK_EVENT || int(group) != b.p.PID() {
			t.Errorf("event %d to group %d: %v", event, group, err)
		}
	})
}

// onBreak exits with leaderCode on CTRL_BREAK.
func onBreak() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	announce("onbreak")
	<-c
	os.Exit(leaderCode)
}

// console is a service with a console of its own, which asks a backend to end.
func console() {
	in := must(Job().Install(ctx(), registry.InstallOptions{}))
	cmd := role("onbreak")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	r, w := must2(os.Pipe())
	cmd.Stdout = w
	p := must(registry.Start(in, cmd, registry.StartOptions{}))
	must(bufio.NewReader(r).ReadString('\n'))
	if err := p.Terminate(); err != nil {
		fmt.Println("terminate:", err)
		return
	}
	select {
	case <-p.Done():
		fmt.Println("ended:", cmd.Wait())
	case <-time.After(patience):
		fmt.Println("did not end")
	}
}

func TestGracefulEnd(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Skip("Wine 10 takes CTRL_BREAK and does not deliver it")
	}
	cmd := role("console")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	out, err := cmd.Output()
	if got, want := strings.TrimSpace(string(out)), fmt.Sprintf("ended: exit status %d", leaderCode); got != want {
		t.Errorf("%q, want %q (%v)", got, want, err)
	}
}

func TestProbe(t *testing.T) {
	if err := registry.Probe(ctx(), Job()); err != nil {
		t.Error(err)
	}
	jobs := recordJobs(t)
	sys.setLimits = func(windows.Handle, uint32) error { return failure }
	wantErrors(t, registry.Probe(ctx(), Job()), registry.ErrJobCreate, failure)
	wantClosed(t, *jobs)
	sys.resumable = func() error { return failure }
	wantErrors(t, registry.Probe(ctx(), Job()), failure)
}
