//go:build !linux

package proctree

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

func unsupported() error {
	return fmt.Errorf("the process table of %s is not read here: %w", runtime.GOOS, errors.ErrUnsupported)
}

func lookup(int) (Process, error) { return Process{}, unsupported() }

func descendants(int) ([]Process, error) { return nil, unsupported() }

func all() ([]Process, error) { return nil, unsupported() }

func signal(Process, syscall.Signal) error { return unsupported() }
