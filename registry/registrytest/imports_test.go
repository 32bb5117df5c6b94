package registrytest_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsNoStrategy: the kit brings no strategy along, so that importing it registers
// nothing. Which there are is the caller's choice.
func TestImportsNoStrategy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("no go command to ask: %v", err)
	}
	kit := false
	for _, path := range strings.Fields(string(out)) {
		kit = kit || strings.HasSuffix(path, "/contain/registry/registrytest")
		if strings.Contains(path, "/contain/strategies/") {
			t.Errorf("registrytest imports %s", path)
		}
	}
	if !kit {
		t.Errorf("go list named no package of ours: %s", out)
	}
}
