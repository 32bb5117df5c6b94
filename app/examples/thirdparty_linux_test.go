package examples

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestThirdParty: a main of ten lines shows and proves a strategy that is not ours.
func TestThirdParty(t *testing.T) {
	const name = "linux/example.subreaper"
	contain := filepath.Join(bin, "thirdparty")
	out, err := exec.Command(contain, "describe", name, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Strategies []struct {
			Summary string
			Probe   struct {
				Usable bool
				Reason string
			}
		}
	}
	if err := json.Unmarshal(out, &described); err != nil {
		t.Fatal(err)
	}
	if len(described.Strategies) != 1 || described.Strategies[0].Summary != "an example" {
		t.Fatalf("%s", out)
	}
	if p := described.Strategies[0].Probe; !p.Usable {
		t.Fatal(p.Reason)
	}
	out, err = exec.Command(contain, "prove", "--quick", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), name) || !strings.Contains(string(out), "owner-killed") {
		t.Errorf("%v\n%s", err, out)
	}
}
