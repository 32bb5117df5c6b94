// Package drill is what the examples have for their tests: a program that imports
// it can be told to panic or to exit, and can run without containment as the control.
//
// Whoever belongs to a drill holds a connection to the test's socket. It is at once
// the process's identity, which no other can have, and the sign of its life.
package drill

import (
	"bufio"
	"fmt"
	"net"
	"os"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

// SocketEnv names the variable with the path of the test's socket.
const SocketEnv = "CONTAIN_EXAMPLE_SOCKET"

// Control is a strategy that guarantees nothing and does nothing. It exists in a test only.
const Control = "any/example.control"

func init() {
	if os.Getenv(SocketEnv) == "" {
		return // not in a test: nothing that contains nothing may be chosen
	}
	registry.Default().MustRegister(&registrytest.Fake{Name: Control, Description: registry.Description{Summary: "does nothing: the control"}})
	if len(os.Args) == 1 {
		go Join("service")
	}
}

// Join connects to the test's socket under a name and does what the test says, until
// the test hangs up.
func Join(name string) {
	conn, err := Connect(name)
	if err != nil {
		return
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		switch in.Text() {
		case "ping":
			fmt.Fprintln(conn, "alive")
		case "exit":
			os.Exit(3)
		case "panic":
			panic("the test said so")
		}
	}
	if name != "service" {
		os.Exit(0) // the test is over
	}
}

// Connect connects to the test's socket under a name.
func Connect(name string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Getenv(SocketEnv), Net: "unix"})
	if err == nil {
		_, err = fmt.Fprintln(conn, name)
	}
	return conn, err
}
