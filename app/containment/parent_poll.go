//go:build unix && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package containment

import (
	"os"
	"time"
)

// pollParent returns a channel that is closed when this process has got another parent
// than it had at its start, and looks until over is closed.
func pollParent(over <-chan struct{}) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for os.Getppid() == parentAtStart {
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
		close(gone)
	}()
	return gone
}
