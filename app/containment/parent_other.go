//go:build !windows && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package containment

import (
	"errors"
	"fmt"
	"runtime"
)

// dieWithParent fails: what binds a process here is up to the strategy.
func dieWithParent() error {
	return fmt.Errorf("the strategy in force does not bind this process to its parent, and %s has no other way; leave Config.DieWithParent unset: %w", runtime.GOOS, errors.ErrUnsupported)
}
