//go:build !linux

package main

import "github.com/seed329817d7/contain/registry"

// dieOfInterrupt returns: no strategy here tells a terminal's ^C from another SIGINT.
func dieOfInterrupt(registry.RunResult) {}
