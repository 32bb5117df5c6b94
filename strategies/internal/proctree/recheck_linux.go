package proctree

import "os"

// recheck returns os.ErrProcessDone unless p is still there and no zombie.
func recheck(p Process) error {
	switch now, err := lookup(p.PID); {
	case err != nil:
		return err
	case !now.Same(p), now.Zombie:
		return os.ErrProcessDone
	}
	return nil
}
