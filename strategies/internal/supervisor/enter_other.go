//go:build !linux && !darwin

package supervisor

import "os"

// runProxy refuses: no supervisor is started on this platform.
func runProxy() {
	_, _ = os.Stderr.WriteString("contain: no supervisor on this platform; nothing was run\n")
	os.Exit(125)
}
