package plain

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/linux/runner"
)

// The run without flags is what contain is started for most, in front of every
// command of a build or every tool of an agent, so it starts as soon as what it
// needs is initialised. Packages are initialised in the order of their import
// paths, among those whose own imports are ready (Go specification, "Program
// initialization"): this one, which imports as little as it can, comes before
// os/exec, which the registry needs, and so before the registry, the strategies and
// the flag library. Each package that is initialised costs a page fault for its text
// and some for what it allocates; and the end of this process takes the longer, the
// more pages it has. For the same reason what is called from here keeps its frames
// small, up to the fork: the stack has a few kilobytes, and to grow would copy it.
//
// What has flags goes on to main, and so does what could not be started here: main
// tries all that there is, and says what is wrong.
func init() {
	if len(os.Args) < 3 || os.Args[1] != "run" {
		return
	}
	env := runner.Environ()
	args := command(os.Args, env)
	if args == nil {
		return
	}
	if code, ended := run(args, env); ended {
		os.Exit(code)
	}
}

// command returns the command of a contain run without flags, by option or by
// environment, or nil.
func command(argv, env []string) []string {
	if len(argv) < 3 || argv[1] != "run" {
		return nil
	}
	args := argv[2:]
	if args[0] == "--" {
		args = args[1:]
	} else if strings.HasPrefix(args[0], "-") {
		return nil
	}
	if len(args) == 0 {
		return nil
	}
	for _, v := range env {
		if strings.HasPrefix(v, prefix) && isVariable(v) {
			return nil
		}
	}
	return args
}

// isVariable reports whether v, NAME=VALUE, is one of a flag.
func isVariable(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	for _, flag := range Flags {
		if Variable(flag) == name {
			return true
		}
	}
	return false
}

// run runs the command, and reports false if that is for main.
func run(args, env []string) (code int, ended bool) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < MinFiles {
		return 0, false
	}
	path := lookPath(args[0], searchPath(env))
	if path == "" {
		return 0, false
	}
	r, started := runner.Command{Path: path, Args: args, Env: env, Grace: NoGrace}.Run()
	switch {
	case !started:
		return 0, false
	case r.Left: // there is nobody to tell: the streams have been given up
		return ExitFailure, true
	case r.Status.Signaled():
		DieOfInterrupt(int(r.Status.Signal()))
		return ExitSignalBase + int(r.Status.Signal()), true
	case r.Status.Exited():
		return r.Status.ExitStatus(), true
	}
	return ExitFailure, true
}

// searchPath is where commands are looked for: PATH, or where that is not set what
// execvp(3) takes.
func searchPath(env []string) string {
	for _, v := range env {
		if list, ok := strings.CutPrefix(v, "PATH="); ok {
			return list
		}
	}
	return DefaultPath
}

// lookPath finds a command as a shell does, or returns "" where it is not plain:
// where it is not found, and where PATH lists a directory that depends on the
// current one.
func lookPath(name, list string) string {
	if strings.Contains(name, "/") {
		return executable(name)
	}
	for dir := range strings.SplitSeq(list, ":") {
		if !strings.HasPrefix(dir, "/") {
			return ""
		}
		if path := executable(filepath.Join(dir, name)); path != "" {
			return path
		}
	}
	return ""
}

// executable returns path if it is that of a file that may be executed, else "".
func executable(path string) string {
	var st unix.Stat_t
	if unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) != nil || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ""
	}
	return path
}
