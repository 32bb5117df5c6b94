package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/cgroupfs"
)

// BeBornIn has the leader born in tree. The caller closes s.KillFD, if it is not
// negative, when the supervisor has been started.
func (s *Spec) BeBornIn(tree *cgroupfs.Tree) error {
	s.Cgroup, s.CgroupFD, s.LockFD = string(tree.Group), int(tree.Lock.Fd()), int(tree.Lock.Fd())
	// Before Linux 5.14 there is none; the supervisor then kills one by one.
	path := string(tree.Group) + "/cgroup.kill"
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		s.KillFD = fd
	} else if err != unix.ENOENT {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return nil
}
