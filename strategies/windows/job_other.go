//go:build !windows

package windows

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/seed329817d7/contain/registry"
)

func install() (registry.Installation, error) { return nil, unsupported("install") }

func probe() error { return unsupported("probe") }

func unsupported(op string) error {
	return failed(op, fmt.Errorf("job objects exist on Windows only, this is %s: %w", runtime.GOOS, errors.ErrUnsupported))
}
