//go:build !windows

package command

import "os"

func obeySequences(*os.File) (restore func()) { return func() {} }
