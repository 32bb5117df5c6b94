//go:build !unix

package plain

// LookPath leaves it to package os/exec.
func LookPath(string, []string) string { return "" }
