//go:build unix

package launch

import (
	"fmt"
	"syscall"
)

// MinFiles is how many open files contain run needs: its own, beside the three
// streams. With less the Go runtime may end the process without a word of ours.
const MinFiles = 20

// EnoughFiles returns an error if this process may not open as many files.
func EnoughFiles() error {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || uint64(l.Cur) >= MinFiles {
		return nil
	}
	return fmt.Errorf("run: %w: %d open files are allowed (RLIMIT_NOFILE), and contain run needs %d; raise ulimit -n", syscall.EMFILE, l.Cur, MinFiles)
}
