//go:build !linux && !windows

package inventory

import (
	"errors"
	"fmt"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("%w on %s: only on Linux and Windows can be told what is contained", errors.ErrUnsupported, runtime.GOOS)
}

func list() ([]Containment, error) { return nil, unsupported() }
