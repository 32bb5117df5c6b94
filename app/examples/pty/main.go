// Command pty runs a shell on a terminal of its own (creack/pty); whatever is
// started there cannot outlive this program.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/creack/pty"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, exec.CommandContext(ctx, "sh")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, cmd *exec.Cmd) error {
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Wrap(cmd); err != nil { // pty.Start starts it
		return err
	}
	terminal, err := pty.Start(cmd)
	if err != nil {
		return err
	}
	defer terminal.Close()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	resized <- syscall.SIGWINCH
	go func() {
		for range resized {
			_ = pty.InheritSize(os.Stdin, terminal)
		}
	}()
	go io.Copy(terminal, os.Stdin)
	_, _ = io.Copy(os.Stdout, terminal)
	return cmd.Wait()
}
