package command

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runaway is a command that says it runs, and has a daemon that outlives it.
// Each of its processes holds the liveness pipe.
const runaway = `echo leader >&3; setsid sh -c 'trap "" TERM HUP; echo daemon >&3; sleep 1000; :' & exec sleep 1000`

// victim is who is killed while a command is being started.
type victim string

const (
	contain    victim = "contain"
	caller     victim = "caller"
	supervisor victim = "supervisor"
)

// launched is a contain run in which somebody is going to be killed.
type launched struct {
	top  *exec.Cmd // the test's child: the caller, or contain
	live *liveness
}

// launch starts contain run, below a caller if that is to be the victim.
//
// The caller leads a session, so contain can tell its adopter, in another one,
// from it, even if the caller dies before contain's first instruction. Not
// covered, because contain cannot tell: a caller that dies that early and either
// does not share contain's session (it called setsid after the fork) or has an
// adopter within the same session; and one in another PID namespace.
func (s *setting) launch(t testing.TB, v victim) *launched {
	t.Helper()
	l := &launched{live: newLiveness(t)}
	args := s.args("--", "sh", "-c", runaway)
	if v == caller {
		args = append([]string{"sh", "-c", `"$@" & wait`, "sh"}, args...)
	}
	l.top = l.live.carry(s.command(args[0], args[1:]...))
	l.top.SysProcAttr.Setsid = true
	if err := l.top.Start(); err != nil {
		t.Fatal(err)
	}
	l.live.w.Close()
	return l
}

// calibrate measures how long it takes from the start to the command's first line: the
// median, for on a busy host the longest is of another kind.
func (s *setting) calibrate(t testing.TB, v victim) time.Duration {
	t.Helper()
	took := make([]time.Duration, 5)
	for i := range took {
		began := time.Now()
		l := s.launch(t, v)
		l.live.expect("leader")
		took[i] = time.Since(began)
		_ = l.top.Process.Kill()
		_ = l.top.Wait()
		l.live.wantGone()
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// TestRunWindow: a SIGKILL at any moment while contain run starts a command
// leaves nothing. A hit counts as inside the window if the command had not yet
// said anything, so that its exec was still to come or had just been.
func TestRunWindow(t *testing.T) {
	long(t)
	tries := 40
	if full() {
		tries = 300
	}
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, v := range []victim{contain, caller, supervisor} {
			t.Run(string(v), func(t *testing.T) {
				window := s.calibrate(t, v)
				inside, left := 0, 0
				for try := range tries {
					before, ok := s.hit(t, v, try, window)
					if before {
						inside++
					}
					if !ok {
						left++
					}
				}
				t.Logf("of %d tries %d hit within the window of about %v", tries, inside, window)
				if left > 0 {
					t.Errorf("%d of %d tries left processes", left, tries)
				}
				// A host that was busy while it was calibrated has another window now.
				for more := 0; inside < tries/10 && more < tries; more++ {
					if more%(tries/10) == 0 {
						window = s.calibrate(t, v)
					}
					before, ok := s.hit(t, v, more, window)
					if before {
						inside++
					}
					if !ok {
						t.Error("a later try left processes")
					}
				}
				if inside < tries/10 {
					t.Errorf("only %d of %d tries hit the window: the test shows little", inside, tries)
				}
			})
		}
	})
}

// hit kills the victim once, and reports whether that was before the command's
// first line, and whether nothing is left. Every other try begins to count only
// once the supervisor exists, which is the end of the window.
func (s *setting) hit(t testing.TB, v victim, try int, window time.Duration) (before, ok bool) {
	t.Helper()
	l := s.launch(t, v)
	defer func() { _ = l.top.Wait() }()
	defer l.top.Process.Kill()
	pid, delay := l.top.Process.Pid, time.Duration(rand.Int64N(int64(window)))
	if v == supervisor || try%2 == 1 {
		for generations := map[victim]int{contain: 1, supervisor: 1, caller: 2}[v]; generations > 0; generations-- {
			if pid = onlyChild(t, pid); pid == 0 {
				return false, l.over(t)
			}
		}
		delay /= 16
	}
	target := l.top.Process.Pid
	if v == supervisor {
		target = pid
	}
	fd, err := unix.PidfdOpen(target, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	spin(delay)
	if err := killByHandle(fd); err != nil {
		t.Fatal(err)
	}
	wrote, ok := l.live.gone(deadline)
	return len(wrote) == 0, ok
}

// over ends a try that cannot be hit any more.
func (l *launched) over(t testing.TB) bool {
	_ = l.top.Process.Kill()
	_, ok := l.live.gone(deadline)
	return ok
}

// onlyChild waits, spinning, for pid's child.
func onlyChild(t testing.TB, pid int) int {
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if c := childrenOf(pid); len(c) > 0 {
			return c[0]
		}
	}
	t.Errorf("%d has no child within %v", pid, deadline)
	return 0
}

// spin waits more exactly than a timer.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// TestRunWindowControl: without contain the same command survives its caller.
func TestRunWindowControl(t *testing.T) {
	long(t)
	survived := 0
	for range 10 {
		live := newLiveness(t)
		cmd := live.carry(exec.Command("sh", "-c", runaway))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		live.expect("leader")
		live.expect("daemon")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, gone := live.gone(50 * time.Millisecond); !gone {
			survived++
		}
	}
	if survived != 10 {
		t.Errorf("%d of 10 survived: the window test shows nothing", survived)
	}
}

// TestRunWindowSteps stops supervisor and leader at each system call that they
// make between their fork and the command's exec, and kills the victim there.
func TestRunWindowSteps(t *testing.T) {
	long(t)
	eachSetting(t, func(t *testing.T, s *setting) {
		for _, v := range []victim{contain, caller, supervisor} {
			for _, stopped := range []string{"supervisor", "leader"} {
				t.Run(string(v)+"/at-"+stopped, func(t *testing.T) {
					var steps []string
					for n := 1; ; n++ {
						step, last := s.killAtStep(t, v, stopped, n)
						if last {
							break
						}
						steps = append(steps, step)
					}
					if t.Logf("killed %s at %d system calls of the %s: %s", v, len(steps), stopped, strings.Join(steps, " ")); len(steps) < 5 {
						t.Error("too few: the test shows nothing")
					}
				})
			}
		}
	})
}

// killAtStep kills the victim at the n-th step, whose system call it returns; last
// means that there were not as many.
func (s *setting) killAtStep(t *testing.T, v victim, stopped string, n int) (step string, last bool) {
	t.Helper()
	live := newLiveness(t)
	args := append([]string{string(v), stopped, fmt.Sprint(n)}, s.args("--", "sh", "-c", runaway)...)
	p := start(t, live.carry(s.role("tracer", args...)))
	step = p.hear("step")
	if p.wait(); p.err.Len() > 0 {
		t.Errorf("step %d: the tracer: %s", n, &p.err)
	}
	if _, ok := live.gone(deadline); !ok {
		t.Errorf("%s killed at step %d of the %s (system call %s): something is left", v, n, stopped, step)
	}
	return step, step == "end"
}
