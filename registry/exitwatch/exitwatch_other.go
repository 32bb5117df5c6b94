//go:build !linux && !windows && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !plan9

package exitwatch

import (
	"os"
	"syscall"
	"time"
)

const pollEvery = 50 * time.Millisecond

// watch polls with the null signal. A zombie still accepts it, so the channel
// closes only after somebody has waited for p.
func watch(p *os.Process) (<-chan struct{}, error) {
	return closeAfter(func() {
		for p.Signal(syscall.Signal(0)) == nil {
			time.Sleep(pollEvery)
		}
	}), nil
}
