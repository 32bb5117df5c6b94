//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// expectation is a line of the table: a test that fails contained.
type expectation struct {
	test   string   // PACKAGE.TEST, or * for every test
	words  []string // of the modes in which it does
	reason string
	// sometimes: timing decides, so it may pass.
	sometimes bool
}

// applies reports whether e is about mode m.
func (e *expectation) applies(m mode) bool {
	return !slices.ContainsFunc(e.words, func(w string) bool { return !slices.Contains(m.words(), w) })
}

type table []*expectation

func readTable(name string) (table, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var t table
	for n, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, "|", 3)
		if len(parts) != 3 || strings.TrimSpace(parts[2]) == "" {
			return nil, fmt.Errorf("%s:%d: want TEST | WORDS OF THE MODE | REASON", name, n+1)
		}
		test, sometimes := strings.CutSuffix(strings.TrimSpace(parts[0]), "?")
		t = append(t, &expectation{test, strings.Fields(parts[1]), strings.TrimSpace(parts[2]), sometimes})
	}
	return t, nil
}

// find returns the expectation about a test, or nil. One about a test is about
// its subtests, too.
func (t table) find(m mode, test string) *expectation {
	for _, e := range t {
		if e.applies(m) && (e.test == test || strings.HasPrefix(test, e.test+"/")) {
			return e
		}
	}
	return nil
}

// about reports whether a test, or a subtest of it, is expected to fail.
func (t table) about(m mode, test string) bool {
	return slices.ContainsFunc(t, func(e *expectation) bool {
		return e.applies(m) && (e.test == test || strings.HasPrefix(e.test, test+"/"))
	})
}
