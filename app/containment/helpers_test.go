package containment_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// childEnv makes the test binary one of the programs below.
const childEnv = "CONTAINMENT_TEST_CHILD"

// childLife bounds the life of a child whatever goes wrong.
const childLife = time.Minute

var children = map[string]func(){
	"sleep": func() { ready(); time.Sleep(childLife) },
	"stubborn": func() {
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
		ready()
		time.Sleep(childLife)
	},
	"exit-7": func() { os.Exit(7) },
	"exit-0": func() {},
}

func ready() { os.Stdout.WriteString("ready\n") }

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		child()
		os.Exit(0)
	}
	// linux/* keep a few threads for as long as the process lives: what they fork dies with it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/seed329817d7/contain/strategies/linux.(*thread).live"))
}

// command returns an unstarted child, and sees to it that it ends with the test.
func command(t testing.TB, child string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil || runtime.GOOS == "js" {
		t.Skipf("no process can be started on %s: %v", runtime.GOOS, err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// start returns a backend that has said that it runs.
func start(t testing.TB, c *containment.Containment, child string) (*exec.Cmd, *containment.Backend) {
	t.Helper()
	cmd := command(t, child)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd, b
}

// using is the config of a service under test with these strategies.
func using(strategies ...registry.Strategy) containment.Config {
	return containment.Config{Registry: registrytest.Registry(strategies...), Logger: slog.New(slog.DiscardHandler)}
}

// running returns options of Run.
func running(opts registry.RunOptions, strategies ...registry.Strategy) containment.RunOptions {
	cfg := using(strategies...)
	return containment.RunOptions{Registry: cfg.Registry, Logger: cfg.Logger, RunOptions: opts}
}

func install(t testing.TB, cfg containment.Config) *containment.Containment {
	t.Helper()
	c, err := containment.Install(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil && !t.Failed() {
			t.Logf("last Close: %v", err)
		}
	})
	return c
}

// fakeWith is a Fake that declares these guarantees only.
func fakeWith(name string, guarantees ...string) *registrytest.Fake {
	d := registry.Description{Guarantees: []registry.Guarantee{}}
	for _, text := range guarantees {
		r, err := registry.ParseRequirement(text)
		if err != nil {
			panic(err)
		}
		d.Guarantees = append(d.Guarantees, registry.Guarantee{Event: r.Event, Reach: r.Reach, Enforcer: r.Enforcer, Within: time.Second})
	}
	return &registrytest.Fake{Name: name, Description: d}
}

// logOf returns a logger and what it has written, without the time.
func logOf() (*slog.Logger, *bytes.Buffer) {
	b := new(bytes.Buffer)
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})), b
}

func soon(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not within 20 s", what)
	}
}

func oneLine(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n\t") {
		t.Errorf("not one line: %q", text)
	}
	for _, w := range words {
		if strings.Count(text, w) != 1 {
			t.Errorf("%q is not once in %q", w, text)
		}
	}
}

// script is a strategy whose backends do what the test says, in place of real
// processes: for what must not depend on the clock.
type script struct {
	registrytest.Fake
	onTerminate, onKill func(p *scripted) error

	mu      sync.Mutex
	backlog []*scripted
	closed  int
}

type scripted struct {
	s            *script
	pid          int
	done         chan struct{}
	mu           sync.Mutex
	terms, kills int
	members      []registry.Member
	membersErr   error
}

type scriptInstallation struct{ *script }

func (s *script) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	return scriptInstallation{s}, ctx.Err()
}

func (scriptInstallation) Cleanup() registry.Cleanup { return registry.CleanupUnsupportedNoop }

func (i scriptInstallation) Start(*exec.Cmd, registry.StartOptions) (registry.Process, error) {
	return i.newProcess(100), nil
}

func (s *script) newProcess(pid int) *scripted {
	p := &scripted{s: s, pid: pid, done: make(chan struct{}), members: []registry.Member{{PID: pid, Name: "leader"}, {PID: pid + 1, Name: "a\nchild\x1b[2J"}}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backlog = append(s.backlog, p)
	return p
}

func (i scriptInstallation) Close(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed++
	return i.CloseErr
}

func (p *scripted) PID() int { return p.pid }
func (p *scripted) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.members != nil {
		p.members = nil
		close(p.done)
	}
}
func (p *scripted) Signal(os.Signal) error { return errors.New("not scripted") }
func (p *scripted) Terminate() error       { return p.act(&p.terms, p.s.onTerminate) }
func (p *scripted) Kill() error            { return p.act(&p.kills, p.s.onKill) }
func (p *scripted) act(n *int, f func(*scripted) error) error {
	p.mu.Lock()
	*n++
	p.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(p)
}
func (p *scripted) Members() ([]registry.Member, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members, p.membersErr
}
func (p *scripted) Done() <-chan struct{} { return p.done }
func (p *scripted) counts() (terms, kills int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.terms, p.kills
}

func ends(p *scripted) error { p.end(); return nil }
