//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// delegate makes a cgroup that the user nobody may divide, and that its tests
// run in: below the one that this process is in.
func (l *lab) delegate() error {
	own, err := ownGroup()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(own, "gotests-")
	if err != nil {
		return fmt.Errorf("make a cgroup for the unprivileged user: %w", err)
	}
	l.cgroup, err = os.Open(dir)
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		err = errors.Join(err, os.Chown(filepath.Join(dir, name), l.uid, l.uid))
	}
	return err
}

// ownGroup returns the directory of this process's cgroup in the v2 hierarchy.
func ownGroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	_, own, ok := strings.Cut("\n"+string(groups), "\n0::")
	if !ok {
		return "", errors.New("no cgroup v2 hierarchy")
	}
	own, _, _ = strings.Cut(own, "\n")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if strings.Contains(line, " - cgroup2 ") && (f[3] == "/" || f[3] == own || strings.HasPrefix(own, f[3]+"/")) {
			return filepath.Join(f[4], strings.TrimPrefix(own, strings.TrimSuffix(f[3], "/"))), nil
		}
	}
	return "", errors.New("the cgroup v2 hierarchy is not mounted")
}

// removeGroup removes a cgroup and those below it, once nobody is in them.
func removeGroup(dir string) {
	end := time.Now().Add(10 * time.Second)
	for {
		_ = filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() && name != dir {
				_ = os.Remove(name)
			}
			return nil
		})
		err := os.Remove(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, "gotests:", err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
