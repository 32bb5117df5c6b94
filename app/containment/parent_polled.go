//go:build unix && !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package containment

// parentGone returns a channel that is closed when this process has got another parent, if
// that is wanted.
func parentGone(wanted bool, over <-chan struct{}) (<-chan struct{}, error) {
	if !wanted {
		return nil, nil
	}
	return pollParent(over), nil
}
