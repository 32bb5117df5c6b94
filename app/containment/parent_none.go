//go:build !unix && !windows

package containment

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// parentGone returns nil: a parent's end is not noticed here.
func parentGone(bool, <-chan struct{}) (<-chan struct{}, error) { return nil, nil }

// endSelf fails: nothing could be watched that would ask for it.
func endSelf(os.Signal) (func(), error) {
	return nil, fmt.Errorf("no process has a parent on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
