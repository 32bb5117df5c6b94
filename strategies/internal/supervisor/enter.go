//go:build !linux

package supervisor

import "os"

// A program that was started as a supervisor becomes one here, before its main
// and before the init functions of most of its packages: package
// initialisation goes by import path among those whose imports are ready, and
// this package imports almost nothing. On Linux package entry comes earlier still.
func init() {
	if len(os.Args) == 1 && os.Args[0] == Argv0 {
		runProxy()
	}
}
