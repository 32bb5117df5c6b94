package command

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prove starts contain prove of a strategy that works everywhere, with every drill.
func prove(t *testing.T, args ...string) (p *session, bin string) {
	t.Helper()
	bin = containBinary(t)
	return start(t, exec.Command(bin, append([]string{"prove", "linux/pdeathsig"}, args...)...)), bin
}

// TestProveShowsRowsAsProved: a row is shown when its drills are done, and an
// interrupt loses none.
func TestProveShowsRowsAsProved(t *testing.T) {
	p, bin := prove(t)
	if s := p.hear("the head of the table"); !strings.HasPrefix(s, "STRATEGY ") {
		t.Fatalf("%q, want the head of the table", s)
	}
	if s := p.hear("the first row"); !strings.HasPrefix(s, "linux/pdeathsig  owner-killed ") || !strings.Contains(s, " yes ") {
		t.Fatalf("%q, want the first row, proved", s)
	}
	p.send(syscall.SIGINT) // hundreds of drills are left
	if code := p.code(); code != 125 {
		t.Errorf("exit code %d, want 125", code)
	}
	if err := p.stderr(); err != "contain: prove was interrupted; nothing is left of it\n" {
		t.Errorf("standard error %q", err)
	}
	for s := range p.lines {
		if strings.HasPrefix(s, "linux/pdeathsig  ") && !strings.Contains(s, " NO ") && !strings.Contains(s, " yes ") {
			t.Errorf("after the interrupt: %q", s)
		}
	}
	noneRun(t, bin)
}

// TestProveInterruptedJSON: the JSON says what was proved by then, and that it is not all.
func TestProveInterruptedJSON(t *testing.T) {
	p, bin := prove(t, "-o", "json")
	running(t, bin) // the drills have begun
	p.send(syscall.SIGTERM)
	if code := p.code(); code != 125 {
		t.Errorf("exit code %d, want 125", code)
	}
	var text strings.Builder
	for s := range p.lines {
		text.WriteString(s + "\n")
	}
	var got proof
	if err := json.Unmarshal([]byte(text.String()), &got); err != nil {
		t.Fatalf("%v: %q", err, text.String())
	}
	if !got.Interrupted || got.Proved {
		t.Errorf("interrupted %v, proved %v: want true, false", got.Interrupted, got.Proved)
	}
	noneRun(t, bin)
}

// ofDrills returns the processes of drills that run bin.
func ofDrills(bin string) []string {
	var found []string
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(exe), "cmdline"))
		if target, err := os.Readlink(exe); err == nil && target == bin && strings.HasPrefix(string(args), "contain-drill\x00") {
			found = append(found, exe)
		}
	}
	return found
}

// running waits until a drill has begun.
func running(t *testing.T, bin string) {
	t.Helper()
	for end := time.Now().Add(deadline); len(ofDrills(bin)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no drill has begun within %v", deadline)
		}
	}
}

func noneRun(t *testing.T, bin string) {
	t.Helper()
	if left := ofDrills(bin); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
