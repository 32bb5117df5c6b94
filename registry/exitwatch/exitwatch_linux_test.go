package exitwatch

import (
	"os"
	"testing"
)

// TestWithoutPidfd runs what old kernels and strict seccomp profiles get.
func TestWithoutPidfd(t *testing.T) {
	cmd, end := startChild(t)
	exited := closeAfter(func() { waitNoReap(cmd.Process.Pid) })
	end.Close()
	mustClose(t, exited)
	wantStatus7(t, cmd)
}

// TestKeepsNoThreadAndNoDescriptor watches many children at once: the poller
// holds them, and nothing is left afterwards.
func TestKeepsNoThreadAndNoDescriptor(t *testing.T) {
	const n = 40
	before := count(t, "/proc/self/fd")
	threads := count(t, "/proc/self/task")
	for range n {
		cmd, end := startChild(t)
		exited := mustWatch(t, cmd.Process)
		defer func() {
			end.Close()
			mustClose(t, exited)
			wantStatus7(t, cmd)
		}()
	}
	if now := count(t, "/proc/self/task"); now >= threads+n {
		t.Errorf("%d threads became %d with %d watches", threads, now, n)
	}
	t.Cleanup(func() {
		if now := count(t, "/proc/self/fd"); now > before+2 {
			t.Errorf("%d descriptors became %d", before, now)
		}
	})
}

func count(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
