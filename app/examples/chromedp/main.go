// Command chromedp drives a browser (chromedp/chromedp) that cannot outlive it.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/chromedp/chromedp"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	var wrapErr error
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(os.Getenv("SERVER")), chromedp.Env("GREETING=hello contain"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-gpu", true),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			if _, wrapErr = c.Wrap(cmd); wrapErr != nil {
				cmd.Err = wrapErr // or it would be started all the same
			}
		}))
	allocator, cancel := chromedp.NewExecAllocator(ctx, opts...)
	defer cancel()
	browser, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(browser, chromedp.Navigate("data:text/html,<title>ready</title>")); err != nil {
		return errors.Join(wrapErr, err)
	}
	title, err := chromedp.Run(browser, chromedp.Title())
	if err != nil {
		return err
	}
	log.Print(title)
	<-ctx.Done()
	return nil
}
