package containment_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/linux"
)

func init() {
	children["leave-two"] = func() { // two that have left its session and its process group
		for range 2 {
			cmd := command(nothingIsCleanedUp{}, "stubborn")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				fmt.Println(err)
			}
			_, _ = out.Read(make([]byte, 1)) // it ignores SIGTERM by now
		}
	}
	children["interrupted"] = func() {
		signal.Ignore(syscall.SIGTERM)
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, os.Interrupt)
		ready()
		select {
		case <-caught:
			os.Exit(0)
		case <-time.After(childLife):
		}
	}
}

// nothingIsCleanedUp lets a child use what tests use.
type nothingIsCleanedUp struct{ testing.TB }

func (nothingIsCleanedUp) Helper()        {}
func (nothingIsCleanedUp) Cleanup(func()) {}

// under runs a test for each of these strategies that works here.
func under(t *testing.T, names []string, test func(t *testing.T, cfg containment.Config)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			cfg := containment.Config{Strategy: name, OutliveParent: true, Logger: slog.New(slog.DiscardHandler)}
			c, err := containment.Install(t.Context(), cfg)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			test(t, cfg)
		})
	}
}

// trees are those that end what a leader leaves.
var trees = []string{linux.CgroupName, linux.SubreaperName, linux.PidnsName}

// TestLeftovers: what a leader leaves is ended, counted and told. The control is a plain start, where
// it lives on: TestOutputHeld, and every drill's.
func TestLeftovers(t *testing.T) {
	under(t, trees, func(t *testing.T, cfg containment.Config) {
		r := record(&cfg)
		c := install(t, cfg)
		for range 2 {
			if err := c.Run(command(t, "leave-two"), containment.Label("leaky")); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Run(command(t, "exit-0")); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		told := r.of(containment.EventLeftoversEnded)
		if len(told) != 2 || told[0].Count != 2 || told[0].Label != "leaky" {
			t.Errorf("%+v, want two of two each", told)
		}
		if cfg.Strategy == linux.CgroupName && len(told) > 0 && len(told[0].Members) != 2 {
			t.Errorf("who: %+v", told[0].Members)
		}
		if st := c.Stats(); st.Leftovers != 4 || st.Started != 3 || st.Ended != 3 || st.Forced != 0 || st.Alive != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestLeaderExitedEvent: that a leader has exited is told while what it left still runs, and
// how it ended where the strategy knows.
func TestLeaderExitedEvent(t *testing.T) {
	waits := []string{linux.CgroupName, linux.SubreaperName} // linux/pidns refuses to
	under(t, waits, func(t *testing.T, cfg containment.Config) {
		r := record(&cfg)
		c := install(t, cfg)
		cmd := command(t, "leave-two")
		b, err := c.Start(cmd, containment.OnLeaderExit(containment.Wait), containment.Grace(time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		waiting(t, cmd)
		e := r.await(t, containment.EventLeaderExited)
		if e.Exit != nil && *e.Exit != (registry.ExitState{}) || e.Exit == nil && cfg.Strategy != linux.CgroupName {
			t.Errorf("it ended with %v", e.Exit)
		}
		if st := b.Status(); st.State != containment.BackendLeaderExited || len(st.Members) != 2 {
			t.Errorf("%+v, want two that are left", st)
		}
		report, err := b.Stop(t.Context())
		if err != nil || len(report.Forced) != 2 {
			t.Errorf("%+v, %v", report, err)
		}
		if st := b.Status(); st.State != containment.BackendEnded || st.Reason != containment.EndForced {
			t.Errorf("%+v", st)
		}
		r.await(t, containment.EventEnded)
		if got := r.of(containment.EventLeftoversEnded); len(got) != 0 {
			t.Errorf("what was stopped was told as leftovers: %+v", got)
		}
	})
}

// TestEventsOfWrapped: a wrapped command is told and counted as any other once something
// else has started it, and not before.
func TestEventsOfWrapped(t *testing.T) {
	under(t, trees, func(t *testing.T, cfg containment.Config) {
		r := record(&cfg)
		c := install(t, cfg)
		never := command(t, "exit-0") // is never started
		if _, err := c.Wrap(never); err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "exit-0")
		b, err := c.Wrap(cmd, containment.Label("wrapped"))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.of(containment.EventStarted); len(got) != 0 {
			t.Errorf("told before the start: %+v", got)
		}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		r.await(t, containment.EventEnded)
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var told []containment.EventKind
		for _, e := range r.of("") {
			if e.Backend == nil {
				continue
			}
			if told = append(told, e.Kind); e.Label != "wrapped" {
				t.Errorf("%+v", e)
			}
		}
		want := []containment.EventKind{containment.EventStarted, containment.EventLeaderExited, containment.EventEnded}
		if !slices.Equal(told, want) {
			t.Errorf("%v, want %v", told, want)
		}
		if st := c.Stats(); st.Started != 1 || st.Ended != 1 || st.Alive != 0 {
			t.Errorf("%+v", st)
		}
		runtime.KeepAlive(never)
	})
}

// TestStopSignal: a backend that ends for another signal than SIGTERM is sent that, and need not be
// killed. The control is one that is not.
func TestStopSignal(t *testing.T) {
	under(t, trees, func(t *testing.T, cfg containment.Config) {
		c := install(t, cfg)
		for _, opts := range [][]containment.StartOption{
			{containment.Grace(childLife), containment.StopSignal(os.Interrupt)},
			{containment.Grace(100 * time.Millisecond)}, // the control
		} {
			cmd := command(t, "interrupted")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.Start(cmd, opts...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			waiting(t, cmd)
			report, err := b.Stop(t.Context())
			if err != nil || len(report.Forced) != len(opts)%2 {
				t.Errorf("%d options: %+v, %v", len(opts), report, err)
			}
		}
	})
}

// TestHelperReplaced: that the supervisor of the whole service was killed, and that another has
// taken its place, is told.
func TestHelperReplaced(t *testing.T) {
	one := []string{linux.CgroupName} // the helpers of the others end with their backends
	under(t, one, func(t *testing.T, cfg containment.Config) {
		r := record(&cfg)
		c := install(t, cfg)
		for n := 1; n <= 2; n++ {
			killSupervisor(t)
			limit := time.After(childLife)
			for len(r.of(containment.EventHelperReplaced)) < n {
				select {
				case <-r.news:
				case <-limit:
					t.Fatalf("not told: %v", r.kinds())
				}
			}
		}
		for _, e := range r.of(containment.EventHelperReplaced) {
			if e.Err != nil || e.Strategy != linux.CgroupName {
				t.Errorf("%+v", e)
			}
		}
		if st := c.Stats(); st.HelpersReplaced != 2 {
			t.Errorf("%+v", st)
		}
		if err := c.Run(command(t, "exit-0")); err != nil {
			t.Error(err)
		}
	})
}

// killSupervisor kills the one child of this process that bears a supervisor's name.
func killSupervisor(t *testing.T) {
	t.Helper()
	found := supervisors(t)
	for end := time.Now().Add(childLife); len(found) == 0 && time.Now().Before(end); {
		found = supervisors(t) // a list of threads may be short while one ends
	}
	if len(found) != 1 {
		t.Fatalf("supervisors %v, want one", found)
	}
	if err := syscall.Kill(found[0], syscall.SIGKILL); err != nil { // it is a child that only its owner waits for, and lives
		t.Fatal(err)
	}
}

func supervisors(t *testing.T) (found []int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		list, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, word := range strings.Fields(string(list)) {
			name, _ := os.ReadFile("/proc/" + word + "/comm")
			if strings.HasPrefix(string(name), "contain-super") {
				pid, _ := strconv.Atoi(word)
				found = append(found, pid)
			}
		}
	}
	return found
}

// TestRelease: what is let go on purpose is told and counted, and Close and Stop leave it
// alone. Where that cannot be, it is refused, and Close ends the backend as ever.
func TestRelease(t *testing.T) {
	under(t, trees, func(t *testing.T, cfg containment.Config) {
		r := record(&cfg)
		c := install(t, cfg)
		cmd, b := start(t, c, "stubborn")
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-gone })
		can := cfg.Strategy == linux.SubreaperName
		if err := b.Release(t.Context()); can == (err != nil) || !can && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatalf("Release: %v", err)
		}
		if !can {
			if st := b.Status(); st.State != containment.BackendRunning {
				t.Errorf("after a Release that was refused: %+v", st)
			}
			return
		}
		r.await(t, containment.EventReleased)
		if st := b.Status(); st.State != containment.BackendEnded || st.Reason != containment.EndReleased {
			t.Errorf("%+v", st)
		}
		if report, err := b.Stop(t.Context()); err != nil || len(report.Forced) != 0 {
			t.Errorf("Stop: %+v, %v", report, err)
		}
		if len(c.Backends()) != 0 || c.Status().Backends != 0 {
			t.Errorf("%d backends", len(c.Backends()))
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if st := c.Stats(); st.Released != 1 || st.Started != 1 || st.Ended != 0 || st.Alive != 0 {
			t.Errorf("%+v", st)
		}
		for _, kind := range []containment.EventKind{containment.EventEnded, containment.EventLeaderExited} {
			if got := r.of(kind); len(got) != 0 {
				t.Errorf("told as %s: %+v", kind, got)
			}
		}
		select {
		case <-gone:
			t.Error("it has ended")
		case <-time.After(100 * time.Millisecond):
		}
	})
}
