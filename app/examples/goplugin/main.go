// Command goplugin is a host of hashicorp/go-plugin whose plugin cannot outlive it.
package main

import (
	"context"
	"log"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-plugin"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
	"github.com/seed329817d7/contain/app/examples/internal/greeter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, exec.CommandContext(ctx, os.Getenv("SERVER"), "plugin")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, cmd *exec.Cmd) error {
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Wrap(cmd); err != nil { // the client starts it
		return err
	}
	client := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: greeter.Handshake, Plugins: greeter.Plugins, Cmd: cmd})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := protocol.Dispense("greeter")
	if err != nil {
		return err
	}
	var greeting string
	if err := raw.(*rpc.Client).Call("Plugin.Greet", "contain", &greeting); err != nil {
		return err
	}
	log.Print(greeting)
	<-ctx.Done()
	return nil
}
