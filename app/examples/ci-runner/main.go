// Command ci-runner runs jobs, eight at a time, each with a limit on its time; what
// a job leaves behind ends with it.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	var jobs sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range 8 {
		slots <- struct{}{}
		jobs.Go(func() {
			defer func() { <-slots }()
			if err := run(ctx, c, os.Getenv("SERVER"), "wait"); err != nil {
				log.Print(err)
			}
		})
	}
	jobs.Wait()
}

func run(ctx context.Context, c *app.Containment, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	b, err := c.Start(cmd)
	if err != nil {
		return err
	}
	err = cmd.Wait()
	<-b.Done() // nothing is left of it
	return err
}
