//go:build !linux

package inventory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

func unsupported() error {
	return fmt.Errorf("%w on %s: only Linux' process table tells what is contained", errors.ErrUnsupported, runtime.GOOS)
}

func list() ([]Containment, error) { return nil, unsupported() }

func stop(context.Context, Containment, time.Duration) (int, error) { return 0, unsupported() }
