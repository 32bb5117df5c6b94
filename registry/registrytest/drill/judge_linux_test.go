package drill

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// killerArg makes this test binary the killer of the strategy that is late.
const killerArg = "drill-test-killer"

func init() {
	if len(os.Args) == 1 && os.Args[0] == killerArg {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the owner ends
		time.Sleep(lateness)
		_ = unix.PidfdSendSignal(3, unix.SIGKILL, nil, 0)
		os.Exit(0)
	}
	Main(&keeper{name: "linux/test.none"}, &keeper{name: "linux/test.late", late: true})
}

// lateness is what the strategy that is late adds to what it declares.
const lateness = 1500 * time.Millisecond

// keeper is a strategy that does not keep what it declares: it ends a backend
// late, or not at all.
type keeper struct {
	name string
	late bool
}

func (k *keeper) Describe() registry.Description {
	return registry.Description{Name: k.name, Platform: registry.PlatformLinux, Summary: "for a test",
		Guarantees: []registry.Guarantee{{Event: registry.EventOwnerKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerSupervisor, Within: 10 * time.Millisecond}}}
}
func (k *keeper) Target() registry.Cleanup { return registry.CleanupUnbound }
func (k *keeper) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return k, nil
}
func (k *keeper) Cleanup() registry.Cleanup   { return registry.CleanupUnbound }
func (k *keeper) Close(context.Context) error { return nil }

func (k *keeper) Start(cmd *exec.Cmd, _ registry.StartOptions) (registry.Process, error) {
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if !k.late {
		return started{pid: cmd.Process.Pid}, nil
	}
	target := os.NewFile(uintptr(pidfd), "pidfd")
	killer := &exec.Cmd{Path: self(), Args: []string{killerArg}, ExtraFiles: []*os.File{target}}
	if _, err := killer.StdinPipe(); err != nil {
		return nil, err
	}
	return started{pid: cmd.Process.Pid}, killer.Start()
}

// started is no more of a process than an owner needs.
type started struct {
	registry.Process
	pid int
}

func (s started) PID() int { return s.pid }

func holdTest(t *testing.T, k *keeper) Result {
	t.Helper()
	lab, err := NewLab(Options{Quick: true})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(lab.Close)
	r, applies := lab.Run(t.Context(), Plan(k.Describe(), Options{Quick: true})[0])
	if !applies {
		t.Fatal("the drill does not apply")
	}
	return r
}

// TestSlowIsNoSurvivor: what goes later than declared has not survived.
func TestSlowIsNoSurvivor(t *testing.T) {
	r := holdTest(t, &keeper{name: "linux/test.late", late: true})
	if len(r.Survivors) > 0 {
		t.Errorf("survivors: %v", r.Survivors)
	}
	if r.Took < lateness {
		t.Errorf("it took %v", r.Took)
	}
	// A host as busy as that explains it.
	if !errors.Is(r.Err, ErrSlow) && (r.Err != nil || !r.Late) {
		t.Errorf("not slow: %v (%+v)", r.Err, r)
	}
}

// TestSurvivorIsNotSlow: what stays has survived, however long one waits.
func TestSurvivorIsNotSlow(t *testing.T) {
	if os.Getenv("CONTAIN_FULL") == "" {
		t.Skip("it takes long; set CONTAIN_FULL=drills")
	}
	r := holdTest(t, &keeper{name: "linux/test.none"})
	if len(r.Survivors) != 1 || r.Err == nil || errors.Is(r.Err, ErrSlow) || !strings.Contains(r.Err.Error(), "survived") {
		t.Errorf("survivors %v, error %v", r.Survivors, r.Err)
	}
}

// TestJudgeTime: a busy host is allowed what it takes itself, no more.
func TestJudgeTime(t *testing.T) {
	for _, c := range []struct {
		took, behind time.Duration
		slow, late   bool
	}{
		{took: 2 * time.Second},
		{took: 2*time.Second + 1, slow: true},
		{took: 3 * time.Second, behind: time.Second, late: true},
		{took: 3*time.Second + 1, behind: time.Second, slow: true},
		{took: time.Second, behind: time.Minute},
	} {
		l := &Lab{o: Options{Slack: time.Second}}
		r := Result{Drill: Drill{Within: time.Second}, Took: c.took, Behind: c.behind}
		l.judgeTime(&r)
		if errors.Is(r.Err, ErrSlow) != c.slow || r.Late != c.late || (r.Note != "") != c.late {
			t.Errorf("took %v, behind %v: error %v, late %v, note %q", c.took, c.behind, r.Err, r.Late, r.Note)
		}
	}
}
