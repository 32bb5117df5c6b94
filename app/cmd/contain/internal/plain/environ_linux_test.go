package plain

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// TestEnviron compares with what package os says, in this process and in one with
// an environment that has all kinds of entries.
func TestEnviron(t *testing.T) {
	if got, want := environ(), os.Environ(); between(endOfArgs(), executedFile()) == nil || !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if os.Getenv("CONTAIN_TEST_AGAIN") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnviron$")
		cmd.Env = []string{"CONTAIN_TEST_AGAIN=1", "EMPTY=", "A=1=2", "B=\xff\n", "C= ", "D="}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}
