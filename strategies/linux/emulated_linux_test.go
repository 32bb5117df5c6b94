package linux

import "testing"

// TestEmulated: QEMU's user mode knows threads, and processes whose end is announced by
// SIGCHLD. There the supervisor is forked in that way.
func TestEmulated(t *testing.T) {
	for _, strategy := range []string{SubreaperName, PidnsName} {
		if probed, installed, _ := inWorld(t, "emulated", strategy, nil); probed != "usable" || installed != "installed" {
			t.Errorf("%s: probe %q, install %q", strategy, probed, installed)
		}
	}
}
