package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
)

// environmentFlags are the flags of contain run that the environment may give
// as CONTAIN_NAME. A list holds its values separated by commas or white space.
var environmentFlags = []struct {
	name  string
	list  bool
	rival string // a flag that contradicts this one
}{
	{name: "strategy", rival: "best-effort"},
	{name: "require", list: true},
	{name: "best-effort", rival: "strategy"},
	{name: "grace"},
	{name: "die-with-parent"},
	{name: "on-exit"},
	{name: "signal"},
	{name: "group"},
	{name: "rewrite", list: true},
	{name: "exit-map", list: true},
	{name: "verbose", rival: "quiet"},
	{name: "quiet", rival: "verbose"},
	{name: "report"},
}

// source is what the user knows a flag's value by.
func (f *runFlags) source(flag string) string {
	if f.fromEnv[flag] {
		return plain.Variable(flag)
	}
	return "--" + flag
}

// takeEnvironment gives the flags that the command line has not given their
// values from the environment, and takes the variables out of it: they are for
// this contain, not for one that CMD may start. A variable that is set to
// nothing is most likely a mistake, and what it was to require would be lost.
func (f *runFlags) takeEnvironment(cmd *cobra.Command) error {
	byFlag := func(name string) bool { // on the command line, and not to turn it off
		flag := cmd.Flags().Lookup(name)
		return flag != nil && flag.Changed && !f.fromEnv[name] && flag.Value.String() != "false"
	}
	for _, e := range environmentFlags {
		name := plain.Variable(e.name)
		text, set := os.LookupEnv(name)
		if !set {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("take %s out of CMD's environment: %w", name, err)
		}
		flag := cmd.Flags().Lookup(e.name)
		if flag.Changed || byFlag(e.rival) {
			continue
		}
		values := []string{text}
		if e.list {
			values = strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
		}
		if strings.TrimSpace(text) == "" || len(values) == 0 {
			return usageError(cmd, "the environment variable %s is empty; unset it, or give it a value as for --%s", name, e.name)
		}
		for _, value := range values {
			if err := flag.Value.Set(value); err != nil {
				return usageError(cmd, "the environment variable %s is %q, no value for --%s: %v", name, text, e.name, err)
			}
		}
		if f.fromEnv == nil {
			f.fromEnv = map[string]bool{}
		}
		flag.Changed, f.fromEnv[e.name] = true, true
	}
	return nil
}
