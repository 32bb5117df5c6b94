//go:build unix

package plain

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// LookPath finds a command as a shell does in env's PATH, or where that is not set as
// execvp(3) does, or returns "" where that is not plain: where it is not found, and
// where PATH lists a directory that depends on the current one.
func LookPath(name string, env []string) string {
	if strings.Contains(name, "/") {
		return executable(name)
	}
	for dir := range strings.SplitSeq(searchPath(env), ":") {
		if !strings.HasPrefix(dir, "/") {
			return ""
		}
		if path := executable(filepath.Join(dir, name)); path != "" {
			return path
		}
	}
	return ""
}

func searchPath(env []string) string {
	for _, v := range env {
		if list, ok := strings.CutPrefix(v, "PATH="); ok {
			return list
		}
	}
	return DefaultPath
}

// executable returns path if it is that of a file that may be executed, else "".
func executable(path string) string {
	var st unix.Stat_t
	if unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ""
	}
	return path
}
