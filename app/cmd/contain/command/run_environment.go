package command

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
)

// lists are the flags of contain run whose variable holds values separated by commas or
// white space.
var lists = []string{"require", "rewrite", "exit-map"}

// rivals are the flags that contradict each other.
var rivals = map[string]string{
	"strategy": "best-effort", "best-effort": "strategy",
	"verbose": "quiet", "quiet": "verbose",
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
	for _, given := range plain.Flags {
		name := plain.Variable(given)
		text, set := os.LookupEnv(name)
		if !set {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("take %s out of CMD's environment: %w", name, err)
		}
		flag := cmd.Flags().Lookup(given)
		if flag.Changed || byFlag(rivals[given]) {
			continue
		}
		values := []string{text}
		if slices.Contains(lists, given) {
			values = strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
		}
		if strings.TrimSpace(text) == "" || len(values) == 0 {
			return usageError(cmd, "the environment variable %s is empty; unset it, or give it a value as for --%s", name, given)
		}
		for _, value := range values {
			if err := flag.Value.Set(value); err != nil {
				return usageError(cmd, "the environment variable %s is %q, no value for --%s: %v", name, text, given, err)
			}
		}
		if f.fromEnv == nil {
			f.fromEnv = map[string]bool{}
		}
		flag.Changed, f.fromEnv[given] = true, true
	}
	return nil
}
