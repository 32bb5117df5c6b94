// Command backend is what the examples start: an MCP server, a plugin, a command.
// Whatever else it is, it leaves a daemon behind, as too many programs do.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"syscall"

	"github.com/hashicorp/go-plugin"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed329817d7/contain/app/examples/internal/drill"
	"github.com/seed329817d7/contain/app/examples/internal/greeter"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: backend mcp|plugin|wait|daemon|exec COMMAND [ARG]...")
	}
	if role := os.Args[1]; role == "daemon" {
		drill.Join(role)
		return
	}
	leaveDaemon()
	switch os.Args[1] {
	case "mcp":
		go drill.Join("leader")
		server := mcp.NewServer(&mcp.Implementation{Name: "backend", Version: "1"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "greets"}, greet)
		if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			log.Fatal(err)
		}
	case "plugin":
		go drill.Join("leader")
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: greeter.Handshake, Plugins: greeter.Plugins})
	case "wait":
		drill.Join("leader")
	case "leave":
	case "exec":
		keepConnection()
		log.Fatal(syscall.Exec(os.Args[2], os.Args[2:], os.Environ()))
	}
}

type greetIn struct {
	Name string `json:"name"`
}

func greet(_ context.Context, _ *mcp.CallToolRequest, in greetIn) (*mcp.CallToolResult, any, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello " + in.Name}}}, nil, nil
}

// leaveDaemon starts a process in a session of its own, with nothing of ours.
func leaveDaemon() {
	cmd := exec.Command("/proc/self/exe", "daemon")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	_ = cmd.Process.Release()
}

// keepConnection lets the program that this one becomes hold the connection.
func keepConnection() {
	conn, err := drill.Connect("leader")
	if err != nil {
		log.Fatal(err)
	}
	file, err := conn.File()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := syscall.Dup(int(file.Fd())); err != nil { // without FD_CLOEXEC
		log.Fatal(err)
	}
}
