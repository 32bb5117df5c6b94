package containment_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// The examples run under a fake, so that they run anywhere. A service leaves
// Registry unset and imports strategies/all.
func exampleConfig() containment.Config {
	return containment.Config{
		Registry: registrytest.Registry(new(registrytest.Fake)),
		Logger:   slog.New(slog.DiscardHandler),
	}
}

// exampleCommand stands for any command.
func exampleCommand() *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=sleep")
	return cmd
}

// A service that starts a backend and stops it.
func Example() {
	ctx := context.Background()
	c, err := containment.Install(ctx, exampleConfig())
	if err != nil {
		fmt.Println(err) // why nothing qualifies, on one line
		return
	}
	defer c.Close(ctx)

	cmd := exampleCommand()
	b, err := c.Start(cmd) // in place of cmd.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	stopCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	report, err := b.Stop(stopCtx)
	fmt.Println(len(report.Left), "left,", err)
	_ = cmd.Wait() // the leader's status, as ever
	// Output: 0 left, <nil>
}

// A requirement that nothing meets is an error with the reasons, and nothing is
// started unprotected.
func ExampleInstall_failsClosed() {
	weak := &registrytest.Fake{Name: "any/weak", Description: registry.Description{
		Guarantees: []registry.Guarantee{{Event: registry.EventOwnerKilled, Reach: registry.ReachChild, Enforcer: registry.EnforcerKernel, Within: time.Second}},
	}}
	cfg := exampleConfig()
	cfg.Registry = registrytest.Registry(weak)
	_, err := containment.Install(context.Background(), cfg)
	fmt.Println(err != nil)

	cfg.Strategy = "any/weak" // accepted by name
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	c, err := containment.Install(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(context.Background())
	// Output:
	// true
	// level=WARN msg="contain: in force" strategy=any/weak owner-killed=child/kernel both-killed=none
}
