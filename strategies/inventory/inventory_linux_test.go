package inventory

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// TestNamesakesCostOneReading: whoever names a hundred processes as supervisors are named,
// each with a parent of its own, does not have all cgroups of the host read for each.
func TestNamesakesCostOneReading(t *testing.T) {
	const namesakes = 100
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "contain-supervisor") // which is the thread's name, too
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	// Each shell answers when it has forked, and ends with its standard input.
	for range namesakes {
		cmd := exec.Command("sh", "-c", `"$0" 1000 >&- & echo up; read -r x; kill $!`, path)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
		if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
			t.Fatal(err)
		}
	}
	before := groupsRead.Load()
	if _, err := List(); err != nil {
		t.Fatal(err)
	}
	read := int(groupsRead.Load() - before)
	table, err := proctree.All()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, p := range table {
		if named(p) {
			seen++
		}
	}
	if seen < namesakes/2 { // of the last some may not have come to their exec
		t.Fatalf("only %d of %d namesakes are seen: this proves nothing", seen, namesakes)
	}
	if most := 3 * (len(table) + namesakes); read > most {
		t.Errorf("%d cgroups were read among %d processes", read, len(table))
	}
}
