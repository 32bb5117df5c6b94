//go:build !darwin

package darwin

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/seed329817d7/contain/registry"
)

func elsewhere(op string) error {
	return &registry.Error{Op: op, Strategy: KqueueName,
		Err: fmt.Errorf("%w: it works on darwin, this is %s", errors.ErrUnsupported, runtime.GOOS)}
}

// Install implements [registry.Strategy].
func (kqueue) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install")
}

// Probe implements [registry.Prober].
func (kqueue) Probe(context.Context) error { return elsewhere("probe") }
