package exitwatch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// watch waits on a duplicate of the handle that os holds, so that Release and
// Wait may close theirs meanwhile.
func watch(p *os.Process) (<-chan struct{}, error) {
	var dup windows.Handle
	var dupErr error
	self := windows.CurrentProcess()
	err := p.WithHandle(func(handle uintptr) {
		dupErr = windows.DuplicateHandle(self, windows.Handle(handle), self, &dup, windows.SYNCHRONIZE, false, 0)
	})
	if errors.Is(err, os.ErrProcessDone) {
		return closeAfter(func() {}), nil
	}
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("duplicate its handle: %w", err)
	}
	return closeAfter(func() {
		defer windows.CloseHandle(dup)
		_, _ = windows.WaitForSingleObject(dup, windows.INFINITE)
	}), nil
}
