package linux

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// What happens to this process itself: it is bound to its parent, or not.

func init() {
	Roles["bound-parent"] = boundParentRole
	Roles["bound"] = boundRole
	Roles["late-parent"] = lateParentRole
	Roles["late"] = lateRole
	Roles["thread-ends"] = threadEndsRole
}

const outliveEnv = "CONTAIN_TEST_OUTLIVE"

// boundParentRole starts a service and dies by SIGKILL once that is installed.
func boundParentRole() {
	cmd := role("bound")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "events")}
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	must(err)
	must(unix.Kill(os.Getpid(), unix.SIGKILL))
}

// boundRole is that service. It tells the test over descriptor 3 what it gets.
func boundRole() {
	events := os.NewFile(3, "events")
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGTERM)
	parent := os.Getppid()
	_, err := byName(os.Getenv(strategyEnv)).Install(context.Background(), registry.InstallOptions{OutliveParent: os.Getenv(outliveEnv) != ""})
	must(err)
	say("installed")
	for os.Getppid() == parent { // the parent's end comes first, its signal may follow
		select {
		case <-got:
			_, _ = events.WriteString("SIGTERM\n")
			return
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-got:
		_, _ = events.WriteString("SIGTERM\n")
	case <-time.After(300 * time.Millisecond):
		_, _ = events.WriteString("outlived\n")
	}
}

// A service gets SIGTERM when its parent ends, unless it asked to outlive it:
// which is the control.
func TestServiceIsBoundToItsParent(t *testing.T) {
	notShort(t)
	for _, strategy := range []string{SubreaperName, PdeathsigName, PidnsName, CgroupName} {
		s, _ := registry.Default().Lookup(strategy)
		if err := registry.Probe(t.Context(), s); err != nil {
			t.Logf("%s: %v", strategy, err)
			continue
		}
		for outlive, want := range map[string]string{"": "SIGTERM", "1": "outlived"} {
			l := newLiveness(t)
			cmd := l.carry(role("bound-parent", strategyEnv+"="+strategy, outliveEnv+"="+outlive))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			l.let()
			_ = cmd.Wait()
			if got := l.line(); got != want {
				t.Errorf("%s, outlive %q: the service got %s, want %s", strategy, outlive, got, want)
			}
			l.wantGone()
		}
	}
}

// lateParentRole starts a service and is gone before that installs.
func lateParentRole() {
	cmd := role("late")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "events")}
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	must(err)
}

func lateRole() {
	say("running")
	for end := time.Now().Add(deadline); os.Getppid() == parentAtStart && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_, err := Subreaper().Install(context.Background(), registry.InstallOptions{})
	events := os.NewFile(3, "events")
	if errors.Is(err, registry.ErrParentDeathSignal) {
		_, _ = events.WriteString("refused\n")
	} else {
		_, _ = events.WriteString("no error: " + text(err) + "\n")
	}
}

func text(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

func TestParentGoneBeforeInstall(t *testing.T) {
	l := newLiveness(t)
	cmd := l.carry(role("late-parent"))
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	l.let()
	if got := l.line(); got != "refused" {
		t.Error(got)
	}
}

// threadEndsRole starts a child from a thread that then ends: plainly with a
// parent-death signal, or through a strategy.
func threadEndsRole() {
	cmd := exec.Command("sleep", "1000")
	var start starter = plain
	if name := os.Getenv(strategyEnv); name == "plain" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	} else {
		start = starterOf(name, registry.InstallOptions{})
	}
	ended := make(chan error)
	tid := make(chan int, 1)
	var body func()
	body = func() {
		runtime.LockOSThread()            // and never unlock: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() { // but for the first thread
			go body()
			select {}
		}
		tid <- unix.Gettid()
		ended <- start(cmd)
	}
	go body()
	id := <-tid
	must(<-ended)
	for end := time.Now().Add(deadline); unix.Tgkill(os.Getpid(), id, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			must(errors.New("the thread does not end"))
		}
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case <-exited:
		say("died")
	case <-time.After(300 * time.Millisecond):
		say("lives")
		_ = cmd.Process.Kill()
		<-exited
	}
}

// A parent-death signal fires when the thread that forked exits: the control. No
// strategy's backend may die of that.
func TestStartingThreadEnds(t *testing.T) {
	for strategy, want := range map[string]string{"plain": "died", PdeathsigName: "lives", SubreaperName: "lives"} {
		if got := strings.TrimSpace(played(t, role("thread-ends", strategyEnv+"="+strategy))); got != want {
			t.Errorf("%s: the backend %s, want %s", strategy, got, want)
		}
	}
}

func TestPdeathsigRefusesAForeignThread(t *testing.T) { refusesAForeignThread(t, PdeathsigName) }
func TestPidnsRefusesAForeignThread(t *testing.T)     { refusesAForeignThread(t, PidnsName) }
