package plain

import (
	"os"
	"slices"
	"strings"
	"syscall"

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
// small, up to the fork: the stack has a few kilobytes, and to grow would copy it. All
// of it saves a tenth of the time of contain run -- /bin/true (60 pairs against --quiet).
//
// What has flags goes on to main, and so does what could not be started here: main
// tries all that there is, and says what is wrong.
func init() {
	if len(os.Args) < 3 || os.Args[1] != "run" {
		return
	}
	env := runner.Environ()
	if args := command(os.Args, env); len(args) > 0 {
		if code, ended := run(args, env); ended {
			os.Exit(code)
		}
	}
}

// command returns the command of a contain run without flags, by option or by
// environment, or nil.
func command(argv, env []string) []string {
	if len(argv) < 3 || argv[1] != "run" || slices.ContainsFunc(env, isVariable) {
		return nil
	}
	args := argv[2:]
	if args[0] == "--" {
		args = args[1:]
	} else if strings.HasPrefix(args[0], "-") {
		return nil
	}
	return args
}

// run runs the command, and reports false if that is for main.
func run(args, env []string) (code int, ended bool) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < MinFiles {
		return 0, false
	}
	path := LookPath(args[0], env)
	if path == "" {
		return 0, false
	}
	r, started := runner.Command{Path: path, Args: args, Env: env, Grace: NoGrace}.Run()
	switch {
	case !started:
		return 0, false
	case r.Left: // there is nobody to tell: the streams have been given up
		return ExitFailure, true
	}
	code, signal := r.Status.ExitStatus(), 0
	if r.Status.Signaled() {
		signal = int(r.Status.Signal())
		DieOfInterrupt(signal)
	}
	code, _ = ExitCode(code, signal)
	return code, true
}
