// Command mcp-go-sdk is an MCP client (modelcontextprotocol/go-sdk) whose server
// cannot outlive it.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed329817d7/contain/app"
	_ "github.com/seed329817d7/contain/app/examples/internal/drill" // for the tests
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, exec.CommandContext(ctx, os.Getenv("SERVER"), "mcp")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, cmd *exec.Cmd) error {
	c, err := app.Install(ctx, app.Config{Strategy: os.Getenv("STRATEGY")})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Wrap(cmd); err != nil { // the transport starts it
		return err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return err
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "contain"}})
	if err != nil {
		return err
	}
	log.Print(result.Content[0].(*mcp.TextContent).Text)
	<-ctx.Done()
	return nil
}
