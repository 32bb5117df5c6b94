//go:build unix

package launch

import (
	"fmt"
	"syscall"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
)

// EnoughFiles returns an error if this process may not open as many files.
func EnoughFiles() error {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || uint64(l.Cur) >= plain.MinFiles {
		return nil
	}
	return fmt.Errorf("run: %w: %d open files are allowed (RLIMIT_NOFILE), and contain run needs %d; raise ulimit -n", syscall.EMFILE, l.Cur, plain.MinFiles)
}
