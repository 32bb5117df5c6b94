package linux

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// BenchmarkStart is Start and Wait of /bin/true in a process with a heap of 256
// MiB, in turns with plain os/exec, so that the ratio of the medians means
// something on a noisy machine.
func BenchmarkStart(b *testing.B) {
	heap := make([]byte, 256<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	for _, s := range []registry.Strategy{Pdeathsig(), Cgroup(), Subreaper(), Pidns()} {
		b.Run(s.Describe().Name, func(b *testing.B) {
			if err := registry.Probe(b.Context(), s); err != nil {
				b.Skip(err)
			}
			contained := under(install(b, s))
			var base, with []time.Duration
			for b.Loop() {
				base = append(base, timed(b, plain))
				with = append(with, timed(b, contained))
			}
			slices.Sort(base)
			slices.Sort(with)
			p, c := base[len(base)/2], with[len(with)/2]
			b.ReportMetric(float64(p.Microseconds()), "plain-µs")
			b.ReportMetric(float64(c.Microseconds()), "contained-µs")
			b.ReportMetric(float64(c)/float64(p), "ratio")
			b.ReportMetric(0, "ns/op") // of both together, which nobody wants
		})
	}
	heap[0]++
}

func timed(b *testing.B, start starter) time.Duration {
	cmd := exec.Command("/bin/true")
	began := time.Now()
	if err := start(cmd); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
