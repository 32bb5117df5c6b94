//go:build linux && !amd64 && !arm64

package supervisor

const ownStacks = false

//go:nosplit
//go:norace
func (r *rawState) forkOntoStack() int { return -1 }

//go:nosplit
//go:norace
func (r *rawState) forkSharing() int { return -1 }
