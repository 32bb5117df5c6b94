package plain

import (
	"slices"
	"strings"
	"testing"
)

// TestPlain: what could have a flag in it is for the flag library.
func TestCommand(t *testing.T) {
	for line, want := range map[string]string{
		"run -- true":        "true",
		"run true -x":        "true -x",
		"run -- true -- -x":  "true -- -x",
		"run -- -x":          "-x",
		"run -- --":          "--",
		"run":                "",
		"run --":             "",
		"run -v -- true":     "",
		"run --quiet true":   "",
		"run -":              "",
		"--help run -- true": "",
		"version":            "",
	} {
		argv := append([]string{"contain"}, strings.Fields(line)...)
		if got := command(argv, []string{"A=B", "CONTAIN_OTHER=x"}); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
		if got := command(argv, []string{"A=B", "CONTAIN_GRACE=1s"}); got != nil {
			t.Errorf("%s: %q with a flag in the environment", line, got)
		}
	}
}
