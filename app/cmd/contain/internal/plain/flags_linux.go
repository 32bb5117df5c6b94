package plain

import "strings"

// isVariable reports whether v, NAME=VALUE, is one of a flag.
func isVariable(v string) bool {
	if !strings.HasPrefix(v, prefix) {
		return false
	}
	name, _, _ := strings.Cut(v, "=")
	for _, flag := range Flags {
		if Variable(flag) == name {
			return true
		}
	}
	return false
}
