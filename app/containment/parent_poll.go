//go:build unix && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package containment

import (
	"os"
	"time"
)

// parentGone returns a channel that is closed when this process has got another
// parent, if that is wanted. It polls: where there is an event for it, as on Linux,
// the strategy is a Runner and uses it.
func parentGone(wanted bool, over <-chan struct{}) (<-chan struct{}, error) {
	if !wanted {
		return nil, nil
	}
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
	return gone, nil
}
