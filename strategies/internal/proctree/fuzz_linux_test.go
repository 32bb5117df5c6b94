package proctree

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzParseStat: whatever a process calls itself, its name is read as it is and
// its numbers are its own.
func FuzzParseStat(f *testing.F) {
	for _, name := range []string{"sh", "", ") S 1 1 1", "a (b) c", "\n7 (init) S 0", "\xff\x00)", ") Z 2 3 4 0 -1 5 0 0 0 0 0 0 0 0 20 0 99 0 1"} {
		f.Add(name, 7, 1, 5, 1, uint64(100), "S")
	}
	f.Add("init", 1, 0, 0, 1, uint64(0), "Z")
	f.Add("first thread gone", 1<<22, 1<<22-1, 0, 2, uint64(1<<63), "Z")
	f.Fuzz(func(t *testing.T, name string, pid, ppid, pgid, threads int, start uint64, state string) {
		raw := []byte(name)
		_, _ = parseStat(raw) // anything may be read, nothing may panic
		if len(state) != 1 || strings.Contains(") \t\n\v\f\r\x85\xa0", state) {
			return
		}
		line := fmt.Sprintf("%d (%s) %s %d %d 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 %d 0 %d 0 0\n", pid, name, state, ppid, pgid, threads, start)
		s, err := parseStat([]byte(line))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if s.Name != name || s.PID != pid || s.PPID != ppid || s.PGID != pgid || s.threads != threads || s.Start != start {
			t.Errorf("%q is read as %+v", line, s)
		}
		if want := state == "X" || state == "x" || state == "Z" && threads <= 1; s.Zombie != want {
			t.Errorf("%q: zombie %v, want %v", line, s.Zombie, want)
		}
	})
}

// FuzzStatus: whatever a process calls itself, the numbers are those of the line that is
// asked for. The kernel writes newlines and backslashes in a name as \n and \\.
func FuzzStatus(f *testing.F) {
	for _, name := range []string{"sh", "", "NSpid:", "\nNSpid:\t1", "a\\nNSpid:\t7", "\r\nNSpid: 7", "\xff\u2028NSpid:"} {
		f.Add(name, 4711, 2)
	}
	f.Fuzz(func(t *testing.T, name string, outer, inner int) {
		_ = statusWords(name, "NSpid") // anything may be read, nothing may panic
		escaped := strings.NewReplacer("\n", "\\n", "\\", "\\\\").Replace(name)
		text := fmt.Sprintf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nNStgid:\t9\t9\nNSpid:\t%d\t%d\nNSpgid:\t8\t8\n", escaped, outer, inner)
		want := []string{fmt.Sprint(outer), fmt.Sprint(inner)}
		if got := statusWords(text, "NSpid"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if got := statusWords(text, "NSsid"); got != nil {
			t.Errorf("%q: %q of a line that is not there", text, got)
		}
	})
}
