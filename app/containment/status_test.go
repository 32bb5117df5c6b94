package containment_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/noop"
)

func TestOneLineSaysWhatIsInForce(t *testing.T) {
	cgroup := fakeWith("any/cgroup", "owner-killed=tree/supervisor", "both-killed=child/kernel")
	cgroup.InstallErr = fmt.Errorf("read-only\ncgroup2: %w", errors.ErrUnsupported)
	for want, cfg := range map[string]containment.Config{
		`level=INFO msg="contain: in force" strategy=any/subreaper owner-killed=tree/supervisor both-killed=child/kernel ` +
			`skipped="any/cgroup: read-only; cgroup2: unsupported operation"` + "\n": using(cgroup, fakeWith("any/subreaper", "owner-killed=tree/supervisor", "both-killed=child/kernel")),
		`level=INFO msg="contain: in force" strategy=any/fake owner-killed=tree/kernel both-killed=none` + "\n": using(fakeWith("any/fake", "owner-killed=tree/kernel")),
		`level=WARN msg="contain: in force" strategy=any/weak owner-killed=child/kernel both-killed=none` + "\n": func() containment.Config {
			cfg := using(fakeWith("any/weak", "owner-killed=child/kernel"))
			cfg.Strategy = "any/weak"
			return cfg
		}(),
		`level=WARN msg="contain: in force" strategy=noop/noop owner-killed=none both-killed=none ` +
			`skipped="any/cgroup: read-only; cgroup2: unsupported operation"` + "\n": func() containment.Config {
			cfg := using(cgroup, noop.New())
			cfg.BestEffort = true
			return cfg
		}(),
	} {
		var log fmt.Stringer
		cfg.Logger, log = logOf()
		c := install(t, cfg)
		if log.String() != want {
			t.Errorf("%s\nwant %s", log, want)
		}
		if err := c.Close(t.Context()); err != nil || log.String() != want {
			t.Errorf("%v, and more than one line: %s", err, log)
		}
	}
}

func TestDefaultLogger(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	log, text := logOf()
	slog.SetDefault(log)
	cfg := using(new(registrytest.Fake))
	cfg.Logger = nil
	install(t, cfg)
	if text.Len() == 0 {
		t.Error("a nil Logger is not slog.Default()")
	}
}

func TestDefaultRegistry(t *testing.T) {
	const name = "any/containment-test"
	if _, err := registry.Default().Lookup(name); err != nil { // registered once, for -count
		registry.Default().MustRegister(&registrytest.Fake{Name: name})
	}
	c := install(t, containment.Config{Strategy: name, Logger: slog.New(slog.DiscardHandler)})
	if c.Strategy() != name {
		t.Errorf("%s is in force", c.Strategy())
	}
}

func TestStatus(t *testing.T) {
	contract := registry.PidfdContract()
	fake := fakeWith("any/fake", "owner-killed=tree/supervisor")
	fake.Description.Supervisor = &contract
	fake.Cleanup = registry.CleanupUnbound
	better := fakeWith("any/better", "owner-killed=tree/kernel")
	better.InstallErr = &registry.Error{Op: "install", Strategy: "any/better", Err: errors.ErrUnsupported}
	c := containment.New(using(fake, better))
	is := func(want string) {
		t.Helper()
		got, err := json.Marshal(c.Status())
		if want = fmt.Sprintf(want, runtime.GOOS); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
	is(`{"schema":1,"platform":"%s","state":"new","strategy":"","cleanup":"unsupported-noop","guarantees":[],"limits":[],"skipped":[],"backends":0}`)
	if err := c.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(`{"schema":1,"platform":"%s","state":"in-force","strategy":"any/fake","cleanup":"unbound",` +
		`"guarantees":[{"event":"owner-killed","reach":"tree","enforcer":"supervisor","within":"1s"}],` +
		`"limits":["It is a fake: nothing of what it declares is kept."],` +
		`"supervisor":{"mechanism":"pidfd","watch":"broker-parent","barrier":"before-backend-pipe-publication",` +
		`"raceGuard":"recheck-broker-alive-after-registration","signal":"SIGKILL","killDeadline":"5s"},` +
		`"skipped":[{"name":"any/better","reason":"install: unsupported operation"}],"backends":0}`)

	scribbled := c.Status()
	scribbled.Guarantees[0].Reach, scribbled.Limits[0], scribbled.Skipped[0].Name, scribbled.Supervisor.Watch = "", "", "", ""
	if st := c.Status(); st.Guarantees[0].Reach == "" || st.Limits[0] == "" || st.Skipped[0].Name == "" || st.Supervisor.Watch == "" {
		t.Error("Status hands out its own memory")
	}
	if skips := c.Skipped(); len(skips) != 1 || !errors.Is(skips[0].Err, errors.ErrUnsupported) {
		t.Errorf("Skipped: %v", skips)
	}
	if c.Cleanup() != registry.CleanupUnbound {
		t.Errorf("Cleanup: %s", c.Cleanup())
	}
	_, b := start(t, c, "sleep")
	if n := c.Status().Backends; n != 1 {
		t.Errorf("%d backends, want 1", n)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, b.Done(), "Done")
	st := c.Status()
	if st.State != containment.StateClosed || st.Strategy != "" || len(st.Guarantees) != 0 || st.Cleanup != registry.CleanupUnbound || c.Skipped() != nil {
		t.Errorf("after Close: %+v", st)
	}
}
