package launch

import (
	"os"
	"slices"
	"strings"
)

// The run without flags is what contain is started for most, in front of every
// command of a build or every tool of an agent, so it starts as soon as what it
// needs is initialised. Packages are initialised in the order of their import
// paths, among those whose own imports are ready (Go specification, "Program
// initialization"): this one comes before the flag library, whose initialisation,
// parsing and help texts are not paid for. What has flags goes on to main.
func init() {
	if args := plain(os.Args, os.Environ()); args != nil {
		growStack(0)
		os.Exit(Report(os.Stderr, runPlain(args)))
	}
}

// plain returns the command of a contain run without flags, by option or by
// environment, or nil.
func plain(argv, env []string) []string {
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
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, prefix) && slices.ContainsFunc(Flags[:], func(f string) bool { return Variable(f) == name }) {
			return nil
		}
	}
	return args
}

func runPlain(args []string) error {
	if err := EnoughFiles(); err != nil {
		return err
	}
	cfg, opts := Defaults(os.Getpid())
	result, err := Run(cfg, opts, args)
	if err != nil {
		return err
	}
	DieOfInterrupt(result)
	return ExitLike(result)
}

// growStack makes room on this goroutine's stack for all that follows, in one step.
// A stack grows by doubling, and each time all frames are unwound and copied, of
// which there are few now. The frame of this function is what needs the room.
//
//go:noinline
func growStack(used int) byte {
	if used == 0 {
		return 0
	}
	var room [24 << 10]byte
	return room[used]
}
