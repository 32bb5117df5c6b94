package command

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestThirdParty: a main of ten lines shows and proves a strategy that is not ours.
func TestThirdParty(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	const name = "linux/example.subreaper"
	bin := filepath.Join(t.TempDir(), "contain")
	if out, err := exec.Command("go", "build", "-o", bin, "./testdata/thirdparty").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.Command(bin, "describe", name, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Strategies []struct {
			Summary string
			Probe   probeResult
		}
	}
	if err := json.Unmarshal(out, &described); err != nil {
		t.Fatal(err)
	}
	if len(described.Strategies) != 1 || described.Strategies[0].Summary != "an example" {
		t.Fatalf("%s", out)
	}
	if p := described.Strategies[0].Probe; !p.Usable {
		t.Skip(p.Reason)
	}
	out, err = exec.Command(bin, "prove", "--quick", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), name) || !strings.Contains(string(out), "owner-killed") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
