package command

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestEntryOfRelease: linked as a release is, with an entry of its own, contain can be
// its own helper, and says in which way it begins.
func TestEntryOfRelease(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("there is no entry for this architecture")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	const entry = "-E=github.com/seed329817d7/contain/strategies/internal/entry.Start"
	for name, flags := range map[string]string{"stripped": "-s -w " + entry, "with symbols": entry, "control": "-s -w"} {
		want := "entry"
		if name == "control" {
			want = "first-init"
		}
		bin := filepath.Join(t.TempDir(), "contain")
		build := exec.Command("go", "build", "-ldflags="+flags, "-o", bin, "..")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		out, err := exec.Command(bin, "describe", "-o", "json", "linux/subreaper").Output()
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Strategies []struct{ Probe probeResult }
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if p := got.Strategies[0].Probe; !p.Usable || p.SupervisorWay != want {
			t.Errorf("%s: %+v, want %s", name, p, want)
		}
	}
}
