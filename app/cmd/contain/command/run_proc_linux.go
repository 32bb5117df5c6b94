package command

import (
	"errors"
	"os"

	"github.com/seed329817d7/contain/registry"
)

// withoutProc is a refusal on a host without /proc, as an initramfs is before its
// first process has mounted one. What each strategy says about it would hide that.
type withoutProc struct{ err error }

func (withoutProc) Error() string {
	return "no /proc of this PID namespace is mounted, and no strategy that would do works without it; " +
		"mount it before contain starts (mount -t proc proc /proc), or accept less (--best-effort)"
}

func (e withoutProc) Unwrap() error { return e.err }

// explainProc says so if it is for want of /proc that no strategy works.
func explainProc(err error) error {
	if !errors.Is(err, registry.ErrNoStrategy) {
		return err
	}
	if _, e := os.Stat("/proc/self"); !errors.Is(e, os.ErrNotExist) {
		return err
	}
	return withoutProc{err}
}
