//go:build linux && (amd64 || arm64)

package supervisor

// sharesMemory: cloneOntoStack exists for this architecture.
const sharesMemory = true

// cloneOntoStack is clone(2) or clone3(2), by number and first two arguments, for
// a child that shares memory and has a stack of its own. It returns the child's
// PID or -errno; the child calls lead.
func cloneOntoStack(nr, a, b uintptr) int
