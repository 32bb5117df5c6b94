//go:build linux && (amd64 || arm64 || riscv64)

package entry

import (
	"os"
	"regexp"
	"runtime"
	"strconv"
	"testing"
)

// TestNumThreads: endThreads takes this process's memory away when numThreads says that
// there is one thread left, so it must count them all.
func TestNumThreads(t *testing.T) {
	more := 10
	end := make(chan struct{})
	defer close(end)
	begun := make(chan struct{})
	for range more {
		go func() {
			runtime.LockOSThread()
			begun <- struct{}{}
			<-end
		}()
	}
	for range more {
		<-begun
	}
	for try := 1; ; try++ {
		before, n, after := threadsOfStatus(t), numThreads(), threadsOfStatus(t)
		if n == before && n > more {
			return
		}
		if try == 100 || before == after { // else the Go runtime has begun a thread in between
			t.Fatalf("%d threads, /proc/self/status says %d and then %d", n, before, after)
		}
	}
}

// threadsOfStatus is what the kernel says in words, proc_pid_status(5).
func threadsOfStatus(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Threads:\s*(\d+)$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no number of threads in %s", status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
