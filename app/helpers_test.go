package app_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"go.uber.org/fx"
	"go.uber.org/goleak"

	"github.com/seed329817d7/contain/app"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// childEnv makes the test binary a backend that sleeps.
const childEnv = "APP_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // for the tests that set no logger
	goleak.VerifyTestMain(m)
}

// sleeper returns an unstarted command that sleeps.
func sleeper() *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	return cmd
}

func needProcesses(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "js" {
		t.Skip("no process can be started on js")
	}
}

// A broker is a service that starts one backend in OnStart.
type broker struct {
	c       *app.Containment
	cmd     *exec.Cmd
	backend *app.Backend
}

func newBroker(lc fx.Lifecycle, c *app.Containment) *broker {
	b := &broker{c: c, cmd: sleeper()}
	lc.Append(fx.StartHook(func() (err error) {
		b.backend, err = c.Start(b.cmd)
		return err
	}))
	return b
}

// service is the broker's fx module, as it would be in production. The app's
// module is listed last.
var service = fx.Options(
	fx.Provide(newBroker),
	fx.Invoke(func(*broker) {}),
	app.Module,
	fx.NopLogger,
	fx.Supply(slog.New(slog.NewTextHandler(io.Discard, nil))),
)

func with(fakes ...registry.Strategy) fx.Option { return fx.Replace(registrytest.Registry(fakes...)) }

func mustStart(t *testing.T, a *fx.App) {
	t.Helper()
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(context.Background()) }) // a no-op if the test has done so
}
