// Command mcp-go is an MCP client (mark3labs/mcp-go) whose server cannot outlive it.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

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
	command := func(ctx context.Context, path string, env, args []string) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), env...)
		_, err := c.Wrap(cmd) // the transport starts it
		return cmd, err
	}
	server, err := client.NewStdioMCPClientWithOptions(os.Getenv("SERVER"), nil, []string{"mcp"}, transport.WithCommandFunc(command))
	if err != nil {
		return err
	}
	hello := mcp.InitializeRequest{}
	hello.Params.ProtocolVersion = "2025-06-18"
	if _, err := server.Initialize(ctx, hello); err != nil {
		return err
	}
	tools, err := server.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return err
	}
	log.Print("tool ", tools.Tools[0].Name)
	<-ctx.Done()
	return nil
}
