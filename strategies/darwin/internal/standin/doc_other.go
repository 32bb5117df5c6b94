//go:build !linux

// Package standin implements the table of package xnu on Linux, for tests.
package standin
