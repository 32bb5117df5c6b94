package supervisor

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// TestIgnoredFromStart: nothing that was ignored at the start is missed, of all that
// can be ignored.
func TestIgnoredFromStart(t *testing.T) {
	if os.Getenv("CONTAIN_TEST_IGNORES") != "" {
		if all, known := IgnoredSignals(), IgnoredFromStart(); known != all || all&(1<<(20-1)) == 0 {
			t.Errorf("ignored %#x, of which known %#x", all, known)
		}
		return
	}
	var signals []string
	for sig := 1; sig <= entry.NumSig; sig++ {
		if sig != 9 && sig != 19 { // KILL and STOP
			signals = append(signals, strconv.Itoa(sig))
		}
	}
	script := "for s in " + strings.Join(signals, " ") + `; do trap "" $s 2>/dev/null; done; exec "$0" -test.run='^TestIgnoredFromStart$'`
	cmd := exec.Command("sh", "-c", script, os.Args[0])
	cmd.Env = append(os.Environ(), "CONTAIN_TEST_IGNORES=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
