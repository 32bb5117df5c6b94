//go:build !linux && !windows && !darwin

package drill

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/seed329817d7/contain/registry"
)

// A Lab holds drills. There is none on this system yet.
type Lab struct{}

// NewLab returns an error that wraps errors.ErrUnsupported.
func NewLab(Options) (*Lab, error) {
	return nil, fmt.Errorf("drill: %w on %s: what is declared there is unproved by drills", errors.ErrUnsupported, runtime.GOOS)
}

// Close does nothing.
func (*Lab) Close() {}

// Load is 0.
func (*Lab) Load() int { return 0 }

// Run reports that nothing was held.
func (*Lab) Run(_ context.Context, d Drill) (Result, bool) {
	return Result{Drill: d, Err: fmt.Errorf("%w: no drills on this system", ErrSkipped)}, true
}

// Plan returns nothing.
func Plan(registry.Description, Options) []Drill { return nil }

// Main does nothing: no drill starts this executable.
func Main(...registry.Strategy) {}
