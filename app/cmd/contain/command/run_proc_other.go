//go:build !linux

package command

// explainProc returns err: there is no /proc that a strategy would need.
func explainProc(err error) error { return err }
