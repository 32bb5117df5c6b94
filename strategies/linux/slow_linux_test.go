package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// hooked is a context that tells when it is asked for Done. exec.Cmd.Start asks once
// before it forks, and again when it has.
type hooked struct {
	context.Context
	asked atomic.Int32
	hook  func(time int32)
}

func (h *hooked) Done() <-chan struct{} {
	h.hook(h.asked.Add(1))
	return h.Context.Done()
}

// working returns the strategies that work here.
func working(t *testing.T) []registry.Strategy {
	var all []registry.Strategy
	for _, s := range []registry.Strategy{Subreaper(), Pidns(), Cgroup(), Pdeathsig()} {
		err := registry.Probe(t.Context(), s)
		if err == nil {
			all = append(all, s)
		} else if !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
	}
	if len(all) < 2 {
		t.Errorf("only %d strategies work here", len(all))
	}
	return all
}

// TestCloseWhileStarting: a Close that does not wait for a start under way ends what
// that brings, in whatever state it is, and the next Close has nothing to report.
func TestCloseWhileStarting(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range working(t) {
		t.Run(s.Describe().Name, func(t *testing.T) {
			for range 3 {
				i := install(t, s)
				ctx := &hooked{Context: context.Background()}
				ctx.hook = func(time int32) {
					if time > 1 {
						return
					}
					if err := i.Close(over); !errors.Is(err, context.Canceled) {
						t.Errorf("Close, cancelled, during Start: %v", err)
					}
				}
				l := newLiveness(t)
				script := "setsid sleep 1000 & sleep 1000"
				if s == Pdeathsig() { // which reaches the leader only
					script = "exec sleep 1000"
				}
				cmd := l.carry(exec.CommandContext(ctx, "sh", "-c", script))
				p, err := registry.Start(i, cmd, registry.StartOptions{})
				if err == nil {
					_ = cmd.Wait()
					await(t, p)
				} else if !errors.Is(err, registry.ErrClosed) {
					t.Errorf("Start: %v", err)
				}
				l.let()
				l.wantGone()
				ctx2, cancel := context.WithTimeout(context.Background(), deadline)
				if err := i.Close(ctx2); err != nil {
					t.Errorf("Close again: %v", err)
				}
				cancel()
				if ctx.asked.Load() == 0 {
					t.Fatal("Start never looked at the context, so nothing was tested")
				}
			}
		})
	}
}

// TestContextEndsWhileStarting: the error is the context's.
func TestContextEndsWhileStarting(t *testing.T) {
	for _, s := range working(t) {
		t.Run(s.Describe().Name, func(t *testing.T) {
			i := install(t, s)
			failed := 0
			for tries := 0; tries < 20 || failed == 0 && s != Cgroup() && s != Pdeathsig(); tries++ {
				if tries == 1000 {
					t.Fatal("no start was late for its context, so nothing was tested")
				}
				ended, cancel := context.WithDeadline(context.Background(), time.Now().Add(time.Hour))
				ctx := &hooked{Context: ended}
				ctx.hook = func(time int32) {
					if time == 2 {
						cancel()
					}
				}
				cmd := exec.CommandContext(ctx, "sleep", "1000")
				if _, err := registry.Start(i, cmd, registry.StartOptions{}); err == nil {
					_ = cmd.Wait() // the end of the context reached it
				} else if failed++; !errors.Is(err, context.Canceled) {
					t.Fatalf("Start: %v, want the context's error", err)
				}
				cancel()
			}
			t.Logf("%d failed", failed)
		})
	}
}

// bystander is a process that stands where a supervisor would, while the test speaks
// for it.
type bystander struct {
	h     *handshake
	cmd   *exec.Cmd
	mouth *os.File // what the supervisor would write to
}

// standIn starts script in place of a supervisor.
func standIn(t *testing.T, script string) *bystander {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.SetNonblock(fds[0], true)
	h := &handshake{
		block: make([]byte, supervisor.BlockHead),
		owner: &supervised{strategy: SubreaperName}, path: "test",
		channel: os.NewFile(uintptr(fds[0]), "ours"), theirs: os.NewFile(uintptr(fds[1]), "theirs"),
	}
	mouth, err := unix.FcntlInt(uintptr(fds[1]), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	b := &bystander{h, exec.Command("sh", "-c", script), os.NewFile(uintptr(mouth), "mouth")}
	cmd := b.cmd
	cmd.ExtraFiles = []*os.File{h.theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		h.close()
		b.mouth.Close()
	})
	return b
}

// TestSlowSupervisor: whether there can be a supervisor is told from what a process
// does, not from how long it takes.
func TestSlowSupervisor(t *testing.T) {
	notShort(t)
	before := silence
	silence = 200 * time.Millisecond
	defer func() { silence = before }()
	for _, c := range []struct {
		name, script string
		do           func(*bystander)
		timeout      time.Duration
		is           error
		unsupported  bool
	}{
		{"stopped for long", "exec sleep 1000", speakLate, 0, nil, false},
		{"asleep", "exec sleep 1000", nil, 0, errSilent, false},
		{"busy with something else", "while :; do :; done", nil, 0, errSilent, false},
		{"ends", "exit 3", nil, 0, registry.ErrSupervisor, true},
		{"is killed", "kill -9 $$", nil, 0, registry.ErrSupervisor, false},
		{"stopped for longer than the context", "kill -STOP $$; exec sleep 1000", nil, time.Second, context.DeadlineExceeded, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := standIn(t, c.script)
			ctx := t.Context()
			if c.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.timeout)
				defer cancel()
			}
			var wg sync.WaitGroup
			if c.do != nil {
				must(b.cmd.Process.Signal(unix.SIGSTOP))
				wg.Go(func() { c.do(b) })
			}
			if c.do == nil {
				b.mouth.Close()
			}
			err := b.h.shakeFirst(ctx, b.cmd)
			wg.Wait()
			if !errors.Is(err, c.is) || errors.Is(err, errors.ErrUnsupported) != c.unsupported {
				t.Errorf("%v", err)
			}
			if (b.cmd.ProcessState == nil) != (err == nil) {
				t.Errorf("collected: %v", b.cmd.ProcessState)
			}
		})
	}
}

// speakLate reports as a supervisor would, once the silence has lasted for long.
func speakLate(b *bystander) {
	time.Sleep(5 * silence) // in which nothing is to happen
	for _, m := range []supervisor.Message{{Op: supervisor.OpHello, A: supervisor.Version}, {Op: supervisor.OpReady}} {
		_, err := b.mouth.Write(unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize))
		must(err)
	}
}

// TestSupervisorThatSaysNothing: a program that is no supervisor and does not end is
// found out. It is an error, not a host on which there can be no supervisor.
func TestSupervisorThatSaysNothing(t *testing.T) {
	notShort(t)
	before := silence
	silence = time.Second
	defer func() { silence = before }()
	silent, err := exec.LookPath("yes") // no script: its interpreter would not find the file
	if err != nil {
		t.Fatal(err)
	}
	opts := registry.InstallOptions{OutliveParent: true, Supervisor: silent}
	for _, s := range working(t) {
		if s == Pdeathsig() {
			continue
		}
		_, err := s.Install(t.Context(), opts)
		if !errors.Is(err, registry.ErrSupervisor) || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", s.Describe().Name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err = s.Install(ctx, opts)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s, with a deadline: %v", s.Describe().Name, err)
		}
	}
}

// TestPidnsDoneIsNotEarly: whoever is killed on the way to the init, Done is closed
// after the last process and not when the init begins to end, which closes its files
// before it takes the others with it.
func TestPidnsDoneIsNotEarly(t *testing.T) {
	if err := registry.Probe(t.Context(), Pidns()); err != nil {
		t.Skip(err)
	}
	i := install(t, Pidns())
	const crowd = 100
	for range 5 {
		l := newLiveness(t)
		p, err := registry.Start(i, l.carry(exec.Command("sh", "-c", "for i in $(seq 100); do sleep 1000 & done; echo all >&3; wait")), registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.let()
		l.expect("all")
		tr := p.(*tree)
		before, err := tr.members()
		if err != nil || len(before) < crowd {
			t.Fatalf("%d members, %v", len(before), err)
		}
		if err := tr.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		await(t, p)
		for _, m := range before {
			if now, err := proctree.Lookup(m.PID); err == nil && now.Same(m) && !now.Zombie {
				t.Fatalf("Done is closed and %v lives", now)
			}
		}
		_ = tr.cmd.Wait()
	}
}
