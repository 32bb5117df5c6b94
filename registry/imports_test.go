package registry_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsStdOnly keeps the promise that a third party's strategy depends on
// this package for nothing.
func TestImportsStdOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Skipf("no go command to ask: %v", err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 || !strings.HasSuffix(got[0], "/registry") {
		t.Errorf("imports beyond the standard library: %v", got)
	}
}
