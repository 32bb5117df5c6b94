// Command broker is a service with two backends, wired by fx.
package main

import (
	"context"
	"os"
	"os/exec"

	"go.uber.org/fx"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	fx.New(
		fx.NopLogger,
		app.Module, // in force before the first OnStart, closed after the last OnStop
		fx.Supply(app.Config{Strategy: os.Getenv("STRATEGY")}),
		fx.Invoke(startBackends),
	).Run()
}

func startBackends(lc fx.Lifecycle, c *app.Containment) {
	for range 2 {
		cmd := exec.Command(os.Getenv("SERVER"), "wait")
		lc.Append(fx.StartHook(func(context.Context) error {
			if _, err := c.Start(cmd); err != nil {
				return err
			}
			go cmd.Wait()
			return nil
		}))
	}
}
