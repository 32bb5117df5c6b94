package containment_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImportsNoFx: users without fx, and the command's fast path, do not pay for it.
func TestImportsNoFx(t *testing.T) {
	const module = "github.com/seed329817d7/contain/"
	for pattern, allowed := range map[string][]string{
		".":                       {module + "registry", module + "app/containment", "github.com/hashicorp/", "golang.org/x/sys/"},
		module + "strategies/...": {module + "registry", module + "strategies/", "golang.org/x/sys/"},
	} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pattern).Output()
		if err != nil {
			t.Skipf("no go command to ask: %v", err)
		}
		for path := range strings.FieldsSeq(string(out)) {
			ok := false
			for _, prefix := range allowed {
				ok = ok || strings.HasPrefix(path, prefix)
			}
			if !ok || strings.HasPrefix(path, "go.uber.org/") {
				t.Errorf("%s imports %s", pattern, path)
			}
		}
	}
}
