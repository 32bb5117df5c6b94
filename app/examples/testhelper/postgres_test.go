package testhelper

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/app/containment/containmenttest"
)

// TestPostgres starts a server that starts others. It refuses to run as root.
func TestPostgres(t *testing.T) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // where Debian has it
	if len(found) == 0 {
		t.Skip("PostgreSQL is not installed")
	}
	dir, err := os.MkdirTemp("", "postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var user *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		user = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	c := containmenttest.New(t)
	program := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(found[len(found)-1], name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, user
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := c.CombinedOutput(program("initdb", "--no-sync", "--auth=trust", "-D", data)); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	// Its "fast shutdown": SIGTERM would wait for every client.
	server := program("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	if _, err := c.Start(server, containment.Label("db"), containment.StopSignal(os.Interrupt)); err != nil {
		t.Fatal(err)
	}
	go server.Wait()

	conn := dial(t, filepath.Join(dir, ".s.PGSQL.5432"))
	defer conn.Close()
	// "Can we talk TLS?" has a length, a code and, without a certificate, the answer N.
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil || answer[0] != 'N' {
		t.Errorf("%q, %v", answer, err)
	}
}
