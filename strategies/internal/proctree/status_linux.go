package proctree

import (
	"os"
	"strconv"
	"strings"
)

// Status returns the words of the line that begins with key in a process's
// /proc/PID/status, proc_pid_status(5), and none if it has no such line or is gone.
func Status(pid int, key string) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	return statusWords(string(text), key)
}

// statusWords finds the line. A process's name, which it chooses itself, cannot begin one: the
// kernel writes a newline in it as \n.
func statusWords(text, key string) []string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}
