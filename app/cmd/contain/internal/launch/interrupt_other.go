//go:build !linux

package launch

import "github.com/seed329817d7/contain/registry"

// DieOfInterrupt returns: no strategy here tells a terminal's ^C from another SIGINT.
func DieOfInterrupt(registry.RunResult) {}
