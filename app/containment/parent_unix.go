//go:build unix

package containment

import (
	"fmt"
	"os"
	"syscall"
)

// endSelf returns what sends sig, or SIGTERM, to this process.
func endSelf(sig os.Signal) (func(), error) {
	if sig == nil {
		sig = syscall.SIGTERM
	}
	number, ok := sig.(syscall.Signal)
	if !ok || number <= 0 {
		return nil, fmt.Errorf("ParentOptions.Signal: %v is no signal of this system", sig)
	}
	return func() { _ = syscall.Kill(os.Getpid(), number) }, nil
}
