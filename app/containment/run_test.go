package containment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func TestRunResult(t *testing.T) {
	for child, code := range map[string]int{"exit-0": 0, "exit-7": 7} {
		fake := new(registrytest.Fake)
		res, err := containment.Run(t.Context(), command(t, child), running(registry.RunOptions{}, fake))
		if err != nil || res != (registry.RunResult{ExitCode: code, Strategy: fake.Describe().Name}) {
			t.Errorf("%s: %+v, %v", child, res, err)
		}
		if len(fake.Started()) != 1 || fake.InForce() != 0 {
			t.Errorf("%s: started %v, %d in force afterwards", child, fake.Started(), fake.InForce())
		}
	}
}

func TestRunRefuses(t *testing.T) {
	fake := new(registrytest.Fake)
	started := command(t, "exit-0")
	if err := started.Run(); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		what string
		ctx  context.Context
		cmd  *exec.Cmd
		is   error
		says string
	}{
		{what: "nil", says: "the command is nil"},
		{what: "started", cmd: started, says: "exec: already started"},
		{what: "not found", cmd: exec.Command("contain-test-no-such-command"), is: exec.ErrNotFound, says: "contain-test-no-such-command"},
		{what: "cancelled", ctx: cancelled, cmd: command(t, "exit-0"), is: context.Canceled, says: "context canceled"},
	} {
		if tt.ctx == nil {
			tt.ctx = t.Context()
		}
		res, err := containment.Run(tt.ctx, tt.cmd, running(registry.RunOptions{}, fake))
		if res.ExitCode != -1 || err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %+v, %v", tt.what, res, err)
			continue
		}
		oneLine(t, err, tt.says)
	}
	if fake.Installs() != 0 {
		t.Errorf("%d installs", fake.Installs())
	}
}

func TestRunStartFailure(t *testing.T) {
	boom := errors.New("boom")
	fake, next := fakeWith("any/first", "owner-killed=tree/kernel"), fakeWith("any/next", "owner-killed=tree/supervisor")
	fake.StartErr, fake.CloseErr = boom, errors.New("close failed")
	opts := running(registry.RunOptions{}, fake, next)
	opts.BestEffort = true
	res, err := containment.Run(t.Context(), command(t, "exit-0"), opts)
	if res.ExitCode != -1 || !errors.Is(err, boom) || !errors.Is(err, fake.CloseErr) {
		t.Errorf("%+v, %v", res, err)
	}
	if next.Installs() != 0 || fake.InForce() != 0 {
		t.Error("a command that failed to start is tried again under the next strategy")
	}
}

func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := command(t, "stubborn")
	cmd.Stdout = writer(func(p []byte) { cancel() }) // it is ready
	var forced []registry.Member
	res, err := containment.Run(ctx, cmd, running(registry.RunOptions{
		OnForced: func(m registry.Member) { forced = append(forced, m) },
	}, new(registrytest.Fake)))
	if !errors.Is(err, context.Canceled) || res.Forced != 1 || res.ExitCode == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if len(forced) != 1 || forced[0].PID != cmd.Process.Pid {
		t.Errorf("forced: %v", forced)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// TestRunWarnsOfLess: one line, and a warning where it is less than the tree.
func TestRunWarnsOfLess(t *testing.T) {
	broken := fakeWith("any/broken", "owner-killed=tree")
	for want, name := range map[string]string{
		`level=INFO msg="contain: in force" strategy=any/fake owner-killed=tree/kernel both-killed=tree/kernel` + "\n":                "any/fake",
		`level=WARN msg="contain: in force" strategy=any/weak owner-killed=none both-killed=none skipped="any/broken: broken"` + "\n": "any/weak",
	} {
		broken.InstallErr = errors.New("broken")
		opts := running(registry.RunOptions{}, fakeWith("any/weak"), broken)
		opts.BestEffort = true
		if name == "any/fake" {
			opts = running(registry.RunOptions{}, new(registrytest.Fake))
		}
		var log fmt.Stringer
		opts.Logger, log = logOf()
		if _, err := containment.Run(t.Context(), command(t, "exit-0"), opts); err != nil || log.String() != want {
			t.Errorf("%s: %v, log %s", name, err, log)
		}
	}
}

// aRunner is a Runner that says what the test wants.
type aRunner struct {
	*registrytest.Fake
	got    registry.RunOptions
	cmd    *exec.Cmd
	result registry.RunResult
	err    error
}

func (r *aRunner) Run(_ context.Context, cmd *exec.Cmd, opts registry.RunOptions) (registry.RunResult, error) {
	r.cmd, r.got = cmd, opts
	return r.result, r.err
}

func TestRunPrefersARunner(t *testing.T) {
	notHere := fmt.Errorf("no supervisor: %w", errors.ErrUnsupported)
	boom := errors.New("boom")
	for _, tt := range []struct {
		what   string
		result registry.RunResult
		err    error
		want   registry.RunResult
		is     error
		next   int // installs of the strategy that comes next
	}{
		{what: "it runs", result: registry.RunResult{ExitCode: 3, Forced: 2}, want: registry.RunResult{ExitCode: 3, Forced: 2, Strategy: "any/runner"}},
		{what: "it does not work here", err: notHere, want: registry.RunResult{ExitCode: 7, Strategy: "any/next"}, next: 1},
		{what: "it fails, and the command may have run", err: boom, want: registry.RunResult{ExitCode: -1}, is: boom},
	} {
		r := &aRunner{Fake: fakeWith("any/runner", "owner-killed=tree/kernel"), result: tt.result, err: tt.err}
		next := fakeWith("any/next", "owner-killed=tree/supervisor")
		opts := running(registry.RunOptions{OnLeaderExit: containment.Wait, Grace: -1, DieWithParent: true}, r, next)
		opts.BestEffort = true // even then a command is not run twice
		cmd := command(t, "exit-7")
		res, err := containment.Run(t.Context(), cmd, opts)
		if res != tt.want || !errors.Is(err, tt.is) || next.Installs() != tt.next || r.Installs() != 0 {
			t.Errorf("%s: %+v, %v; %d installs, %d of the next", tt.what, res, err, r.Installs(), next.Installs())
		}
		r.got.Started = nil // Run's own
		if r.cmd != cmd || !reflect.DeepEqual(r.got, opts.RunOptions) {
			t.Errorf("%s: the Runner got %v", tt.what, r.got)
		}
	}
}

// TestRunChooses: by the strategy's name, and by what is required.
func TestRunChooses(t *testing.T) {
	first, next := fakeWith("any/first", "owner-killed=tree/kernel"), fakeWith("any/next", "owner-killed=tree/supervisor")
	opts := running(registry.RunOptions{}, first, next)
	opts.Strategy = "any/next"
	if res, err := containment.Run(t.Context(), command(t, "exit-0"), opts); err != nil || res.Strategy != opts.Strategy {
		t.Errorf("%+v, %v", res, err)
	}
	kernel, err := registry.ParseRequirement("owner-killed=tree/kernel")
	if err != nil {
		t.Fatal(err)
	}
	opts.Require = []registry.Requirement{kernel}
	if res, err := containment.Run(t.Context(), command(t, "exit-0"), opts); !errors.Is(err, registry.ErrNoStrategy) || res.ExitCode != -1 {
		t.Errorf("%+v, %v", res, err)
	}
	if len(first.Started()) != 0 || len(next.Started()) != 1 {
		t.Errorf("started %v and %v", first.Started(), next.Started())
	}
}

// TestRunToGroup: an error where a strategy is no Runner.
func TestRunToGroup(t *testing.T) {
	fake := new(registrytest.Fake)
	if _, err := containment.Run(t.Context(), command(t, "exit-0"), running(registry.RunOptions{ToGroup: true}, fake)); !errors.Is(err, errors.ErrUnsupported) || len(fake.Started()) > 0 {
		t.Errorf("%v, started %v", err, fake.Started())
	}
}

// TestRunPassesOutput: streams that cmd has are left alone.
func TestRunPassesOutput(t *testing.T) {
	var out bytes.Buffer
	cmd := command(t, "stubborn")
	cmd.Stdout = &out
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := containment.Run(ctx, cmd, running(registry.RunOptions{}, new(registrytest.Fake))); !errors.Is(err, context.DeadlineExceeded) || out.String() != "ready\n" {
		t.Errorf("%v, output %q", err, &out)
	}
}
