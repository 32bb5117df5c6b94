// Package testhelper shows a test that needs real servers: they are started with the
// test and are gone with it, whatever becomes of either.
package testhelper

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment/containmenttest"
	_ "github.com/seed329817d7/contain/strategies/all"
)

func TestRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "redis-") // shorter than t.TempDir, as the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	c := containmenttest.New(t) // closed after the test, before dir is removed
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	if _, err := c.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()

	conn := dial(t, socket)
	defer conn.Close()
	answer := make([]byte, 7)
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(answer); err != nil || !bytes.Equal(answer, []byte("+PONG\r\n")) {
		t.Errorf("%q, %v", answer, err)
	}
}

// dial connects once the server listens.
func dial(t *testing.T, socket string) net.Conn {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
