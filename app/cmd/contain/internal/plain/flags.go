package plain

import "strings"

// Flags are those of contain run, each of which the environment may give, too.
var Flags = [...]string{
	"strategy", "require", "best-effort", "grace", "die-with-parent", "on-exit",
	"signal", "group", "rewrite", "exit-map", "verbose", "quiet", "report",
}

const prefix = "CONTAIN_"

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
