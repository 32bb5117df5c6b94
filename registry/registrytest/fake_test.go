package registrytest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// childEnv makes the test binary a backend that sleeps.
const childEnv = "REGISTRYTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil || runtime.GOOS == "js" {
		t.Skipf("no process can be started on %s: %v", runtime.GOOS, err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func install(t *testing.T, f *registrytest.Fake) registry.Installation {
	t.Helper()
	in, err := f.Install(t.Context(), registry.InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestZeroFakeMeetsEveryRequirement(t *testing.T) {
	var w registry.Wanted
	for _, e := range registry.Events() {
		w.Require = append(w.Require, registry.Requirement{Event: e, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel})
	}
	r := registrytest.Registry(new(registrytest.Fake))
	for _, platform := range []registry.Platform{registry.PlatformLinux, registry.PlatformWindows, registry.PlatformDarwin, "js"} {
		for _, w := range []registry.Wanted{w, {}} {
			if res, err := r.Resolve(t.Context(), platform, w); err != nil || res.Description.Name != registrytest.FakeName {
				t.Errorf("%s: %v, %v", platform, res, err)
			}
		}
	}
}

func TestFakeRunsPlainlyAndRecords(t *testing.T) {
	f := new(registrytest.Fake)
	in := install(t, f)
	if in.Cleanup() != f.Target() || f.Installs() != 1 || f.InForce() != 1 {
		t.Errorf("cleanup %q, installs %d, in force %d", in.Cleanup(), f.Installs(), f.InForce())
	}
	cmd := sleeper(t)
	p, err := in.Start(cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.PID() != cmd.Process.Pid || !slices.Equal(f.Started(), []*exec.Cmd{cmd}) {
		t.Errorf("PID %d of %d, started %v", p.PID(), cmd.Process.Pid, f.Started())
	}
	if err := errors.Join(in.Close(t.Context()), in.Close(t.Context())); err != nil {
		t.Error(err)
	}
	<-p.Done()
	if f.Closes() != 1 || f.InForce() != 0 {
		t.Errorf("closes %d, in force %d", f.Closes(), f.InForce())
	}
	if _, err := in.Start(sleeper(t), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
	if _, err := in.(registry.Wrapper).Wrap(sleeper(t), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("Wrap after Close: %v", err)
	}
	if len(f.Started()) != 1 || len(f.Wrapped()) != 0 {
		t.Errorf("what failed is recorded: %v, %v", f.Started(), f.Wrapped())
	}
}

func TestFakeFailsWhereTold(t *testing.T) {
	boom := errors.New("boom")
	is := func(step string, err error) {
		t.Helper()
		if !errors.Is(err, boom) {
			t.Errorf("%s: %v", step, err)
		}
	}
	ctx := t.Context()
	is("Probe", (&registrytest.Fake{ProbeErr: boom}).Probe(ctx))
	failing := &registrytest.Fake{InstallErr: boom}
	_, err := failing.Install(ctx, registry.InstallOptions{})
	is("Install", err)
	if failing.Installs() != 0 {
		t.Error("a failed Install is counted")
	}

	unstarted := sleeper(t)
	in := install(t, &registrytest.Fake{StartErr: boom, WrapErr: boom})
	_, err = in.Start(unstarted, registry.StartOptions{})
	is("Start", err)
	_, err = in.(registry.Wrapper).Wrap(unstarted, registry.StartOptions{})
	is("Wrap", err)
	if unstarted.Process != nil {
		t.Error("a failed Start started something")
	}

	in = install(t, &registrytest.Fake{SignalErr: boom, TerminateErr: boom, KillErr: boom, MembersErr: boom, CloseErr: boom})
	p, err := in.Start(sleeper(t), registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	is("Signal", p.Signal(os.Kill))
	is("Terminate", p.Terminate())
	is("Kill", p.Kill())
	_, err = p.Members()
	is("Members", err)
	is("Close", in.Close(ctx))
	<-p.Done() // all the same
}

func TestFakeHonoursContextAndPlatform(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := new(registrytest.Fake)
	_, err := f.Install(ctx, registry.InstallOptions{})
	if !errors.Is(err, context.Canceled) || !errors.Is(f.Probe(ctx), context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if f.Installs() != 0 || f.Probes() != 1 {
		t.Errorf("%d installs, %d probes", f.Installs(), f.Probes())
	}
}

func TestFakeWrap(t *testing.T) {
	f := &registrytest.Fake{Cleanup: registry.CleanupUnbound}
	in := install(t, f)
	cmd := sleeper(t)
	before := slices.Clone(cmd.Args)
	p, err := in.(registry.Wrapper).Wrap(cmd, registry.StartOptions{})
	if err != nil || p.PID() != 0 || !slices.Equal(cmd.Args, before) || !slices.Equal(f.Wrapped(), []*exec.Cmd{cmd}) {
		t.Errorf("Wrap: %v, args %v, wrapped %v", err, cmd.Args, f.Wrapped())
	}
	if in.Cleanup() != registry.CleanupUnbound {
		t.Errorf("Cleanup: %q", in.Cleanup())
	}
	if err := in.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-p.Done()
}

func TestFakeConcurrently(t *testing.T) {
	f := new(registrytest.Fake)
	var wg sync.WaitGroup
	for range 8 {
		in, cmd := install(t, f), sleeper(t)
		wg.Go(func() {
			p, err := in.Start(cmd, registry.StartOptions{})
			if err == nil {
				err = in.Close(t.Context())
				<-p.Done()
			}
			_, _, _ = f.Describe(), f.Started(), f.InForce()
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(f.Started()) != 8 || f.Installs() != 8 || f.Closes() != 8 {
		t.Errorf("started %d, installs %d, closes %d", len(f.Started()), f.Installs(), f.Closes())
	}
}

func TestRegistryPanicsOnTwoOfOneName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	registrytest.Registry(new(registrytest.Fake), new(registrytest.Fake))
}
