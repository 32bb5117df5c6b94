package linux

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// TestIdleHelpersSleep: while nothing happens to a backend its proxy and its supervisor do
// not wake up. Another backend that sleeps for a second tells how long nothing happens.
func TestIdleHelpersSleep(t *testing.T) {
	notShort(t)
	for _, s := range working(t) {
		if s == Pdeathsig() {
			continue
		}
		t.Run(s.Describe().Name, func(t *testing.T) {
			i := install(t, s)
			idle := exec.Command("sleep", "1000")
			p, err := registry.Start(i, idle, registry.StartOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = p.Kill()
				_ = idle.Wait()
				await(t, p)
			}()
			var pids []int
			for _, child := range childrenOf(t, os.Getpid()) {
				if child.Name != supervisor.Argv0[:15] {
					continue
				}
				pids = append(pids, child.PID)
				for _, below := range childrenOf(t, child.PID) {
					if below.Name == child.Name {
						pids = append(pids, below.PID)
					}
				}
			}
			if len(pids) == 0 {
				t.Fatal("there are no helpers")
			}
			sleep := func(seconds string) {
				cmd := exec.Command("sleep", seconds)
				other, err := registry.Start(i, cmd, registry.StartOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
				await(t, other)
			}
			var before map[int]string
			eventually(t, "they have settled", func() bool {
				before = switches(t, pids)
				sleep("0.1")
				return maps.Equal(before, switches(t, pids))
			})
			sleep("1")
			if after := switches(t, pids); !maps.Equal(before, after) {
				t.Errorf("they have woken up: voluntary switches by PID %v, then %v", before, after)
			}
		})
	}
}

// switches returns how often each process has gone to sleep, proc_pid_status(5).
func switches(t *testing.T, pids []int) map[int]string {
	t.Helper()
	counts := make(map[int]string)
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, count, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:\t")
		counts[pid], _, _ = strings.Cut(count, "\n")
	}
	return counts
}
