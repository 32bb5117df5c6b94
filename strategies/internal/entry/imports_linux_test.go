package entry

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestImports: that this package is initialised before all that has a system call to make
// rests on its importing nothing.
func TestImports(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "list", "-f", `{{join .Imports " "}}`, ".")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != "unsafe" {
			t.Errorf("for %s it imports %q, %v, want unsafe alone", arch, got, err)
		}
	}
}
