package command

import (
	"strings"
	"unicode"
)

// wrap breaks s into lines of at most width characters, at spaces where it can
// and within a word where it must. What is no printable character counts as a space.
func wrap(s string, width int) []string {
	width = max(width, 1)
	words := strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
	var lines []string
	var line []rune
	for _, word := range words {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) <= width {
			line = append(append(line, ' '), w...)
			continue
		}
		if len(line) > 0 {
			lines = append(lines, string(line))
		}
		for len(w) > width {
			lines = append(lines, string(w[:width]))
			w = w[width:]
		}
		line = w
	}
	if len(line) > 0 {
		lines = append(lines, string(line))
	}
	return lines
}
