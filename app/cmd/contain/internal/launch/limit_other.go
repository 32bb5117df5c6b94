//go:build !unix

package launch

// EnoughFiles returns nil: there is no such limit here.
func EnoughFiles() error { return nil }
