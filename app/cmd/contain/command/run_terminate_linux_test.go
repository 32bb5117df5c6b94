package command

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is a command with n children, all of which end at SIGTERM. It says ready
// on descriptor 3, which all of them keep.
func crowd(n int) []string {
	return []string{"sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo ready >&3; wait`, n)}
}

// BenchmarkRunTerminate compares the graceful end of 1,000 processes, by a
// SIGTERM to contain run, with signalling all of them directly, in turns. The
// clock stops when the last of them is gone.
func BenchmarkRunTerminate(b *testing.B) {
	bin := containBinary(b)
	for _, strategy := range strategies {
		b.Run(strings.TrimPrefix(strategy, "linux/"), func(b *testing.B) {
			s := &setting{t: b, bin: bin, strategy: strategy}
			if usable, why := s.probe(); !usable {
				b.Skip(why)
			}
			var contained, direct []time.Duration
			for range b.N {
				contained = append(contained, untilEnded(b, s.run(append([]string{"--"}, crowd(1000)...)...),
					func(cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGTERM) }))
				plain := s.command("sh", crowd(1000)[1:]...)
				plain.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				direct = append(direct, untilEnded(b, plain,
					func(cmd *exec.Cmd) error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(contained).Seconds()*1e3, "ms/contained")
			b.ReportMetric(median(direct).Seconds()*1e3, "ms/direct")
			b.ReportMetric(float64(median(contained))/float64(median(direct)), "ratio")
		})
	}
}

// untilEnded returns the time from end until nobody is left of what cmd starts.
func untilEnded(b *testing.B, cmd *exec.Cmd, end func(*exec.Cmd) error) time.Duration {
	b.Helper()
	live := newLiveness(b)
	p := start(b, live.carry(cmd))
	live.expect("ready")
	begin := time.Now()
	if err := end(p.cmd); err != nil {
		b.Fatal(err)
	}
	live.wantGone()
	took := time.Since(begin)
	p.wait()
	return took
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
