//go:build !unix

package main

// enoughFiles returns nil: there is no such limit here.
func enoughFiles() error { return nil }
