//go:build !linux

package inventory

import (
	"errors"
	"fmt"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("%w on %s: only Linux' process table tells what is contained", errors.ErrUnsupported, runtime.GOOS)
}

func list() ([]Containment, error) { return nil, unsupported() }
