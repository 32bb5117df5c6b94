package linux

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// The figures of these benchmarks are ratios of a contained and a bare run that
// alternate, because on a machine with other work single times mean little.
// figures.sh beside this file runs them all.

// BenchmarkStart is Start and Wait of /bin/true in a process with a heap of 256
// MiB, against plain os/exec.
func BenchmarkStart(b *testing.B) {
	heap := make([]byte, 256<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	for _, s := range []registry.Strategy{Pdeathsig(), Cgroup(), Subreaper(), Pidns()} {
		b.Run(s.Describe().Name, func(b *testing.B) {
			usable(b, s)
			contained := under(install(b, s))
			paired(b,
				func() time.Duration { return startAndWait(b, plain) },
				func() time.Duration { return startAndWait(b, contained) })
		})
	}
	heap[0]++
}

// BenchmarkOwnerKilled is the time from an owner's SIGKILL until the last of its
// tree of 1,000 processes has let go of its descriptors, against a bare
// cgroup.kill of the same tree, or where the kernel does it by a PID namespace,
// against the kill of a bare init with the same tree.
func BenchmarkOwnerKilled(b *testing.B) {
	asRoot(b)
	for _, c := range []struct {
		strategy registry.Strategy
		against  string
		bare     func(testing.TB) time.Duration
	}{
		{Cgroup(), "cgroup.kill", bareCgroupKill},
		{Subreaper(), "cgroup.kill", bareCgroupKill},
		{Pidns(), "init", bareInitKilled},
	} {
		name := c.strategy.Describe().Name
		b.Run(name+"-against-"+c.against, func(b *testing.B) {
			usable(b, c.strategy)
			usable(b, Cgroup())
			paired(b,
				func() time.Duration { return c.bare(b) },
				func() time.Duration { return ownerKilled(b, name) })
		})
	}
}

// BenchmarkSupervisorMemory is the proportional set size of all supervisors of a
// service with 1,000 backends under linux/cgroup.
func BenchmarkSupervisorMemory(b *testing.B) {
	usable(b, Cgroup())
	i := install(b, Cgroup())
	l := newLiveness(b)
	if _, err := startMany(i, l.w, hugeTree); err != nil {
		b.Fatal(err)
	}
	supervisors := supervisorsOf(b, os.Getpid())
	for b.Loop() {
		total := 0
		for _, s := range supervisors {
			total += proportionalKiB(b, s.PID)
		}
		b.ReportMetric(float64(total), "PSS-KiB")
	}
	b.ReportMetric(float64(len(supervisors)), "supervisors")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThroughput is the time that 500 short commands take, 8 at a time: of one that does
// nothing, which is all cost, and of one that takes 10 ms.
func BenchmarkThroughput(b *testing.B) {
	for name, command := range map[string][]string{"true": {"/bin/true"}, "10ms": {"sleep", "0.01"}} {
		for _, s := range []registry.Strategy{Cgroup(), Subreaper(), Pidns()} {
			b.Run(name+"/"+s.Describe().Name, func(b *testing.B) {
				usable(b, s)
				contained := under(install(b, s))
				paired(b,
					func() time.Duration { return shortCommands(b, plain, command) },
					func() time.Duration { return shortCommands(b, contained, command) })
			})
		}
	}
}

func shortCommands(b *testing.B, start starter, command []string) time.Duration {
	return eightAtATime(b, 500, start, func() *exec.Cmd { return exec.Command(command[0], command[1:]...) })
}

// eightAtATime is the time that n commands take.
func eightAtATime(b *testing.B, n int, start starter, command func() *exec.Cmd) time.Duration {
	slots := make(chan struct{}, 8)
	var commands sync.WaitGroup
	began := time.Now()
	for range n {
		slots <- struct{}{}
		commands.Go(func() {
			defer func() { <-slots }()
			cmd := command()
			err := start(cmd)
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	commands.Wait()
	return time.Since(began)
}

// BenchmarkLeakyJobs is the time that a runner takes for 60 jobs, 8 at a time, each of
// which leaves a busy process behind: for plain os/exec these add up, until each ends of
// itself after two seconds.
func BenchmarkLeakyJobs(b *testing.B) {
	for _, s := range []registry.Strategy{Cgroup(), Subreaper()} {
		b.Run(s.Describe().Name, func(b *testing.B) {
			usable(b, s)
			contained := under(install(b, s))
			paired(b,
				func() time.Duration { return leakyJobs(b, plain) },
				func() time.Duration { return leakyJobs(b, contained) })
		})
	}
}

// leakyJobs returns when nothing is left of the jobs, which is not in the time.
func leakyJobs(b *testing.B, start starter) time.Duration {
	live := newLiveness(b)
	const job = `timeout 2 sh -c 'while :; do :; done' <&- >&- 2>&- & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done`
	took := eightAtATime(b, 60, start, func() *exec.Cmd { return live.carry(exec.Command("/bin/sh", "-c", job)) })
	for end := time.Now().Add(deadline); len(live.holders()) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	return took
}

func usable(b *testing.B, s registry.Strategy) {
	b.Helper()
	if err := registry.Probe(b.Context(), s); err != nil {
		b.Skip(err)
	}
}

// paired runs the two in turns, and each first as often as the other. It reports
// the medians, their ratio, and the quartiles of the ratios of single pairs.
func paired(b *testing.B, bare, contained func() time.Duration) {
	b.Helper()
	var base, with []time.Duration
	var ratios []float64
	for n := 0; b.Loop(); n++ {
		var p, c time.Duration
		if n%2 == 0 {
			p, c = bare(), contained()
		} else {
			c, p = contained(), bare()
		}
		base, with = append(base, p), append(with, c)
		ratios = append(ratios, float64(c)/float64(p))
	}
	slices.Sort(base)
	slices.Sort(with)
	slices.Sort(ratios)
	n := len(ratios)
	p, c := base[n/2], with[n/2]
	b.ReportMetric(float64(p.Microseconds()), "bare-µs")
	b.ReportMetric(float64(c.Microseconds()), "contained-µs")
	b.ReportMetric(float64(c)/float64(p), "ratio")
	b.ReportMetric(ratios[n/4], "ratio-q1")
	b.ReportMetric(ratios[n*3/4], "ratio-q3")
	b.ReportMetric(0, "ns/op") // of both together, which nobody wants
}

func startAndWait(b *testing.B, start starter) time.Duration {
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

// hugeTree is the number of processes in a tree to be ended.
const hugeTree = 1000

// hugeScript becomes such a tree, and says so once all of it is there. The shell
// does not exec the last one, because it waits.
var hugeScript = "i=1; while [ $i -lt " + strconv.Itoa(hugeTree) + " ]; do sleep 1000 & i=$((i+1)); done; echo huge >&3; wait"

func hugeCommand() *exec.Cmd { return exec.Command("sh", "-c", hugeScript) }

func init() { Roles["huge-owner"] = hugeOwnerRole }

// hugeOwnerRole is a service with one such tree.
func hugeOwnerRole() {
	unix.CloseOnExec(3)
	start := starterOf(os.Getenv(strategyEnv), registry.InstallOptions{})
	cmd := hugeCommand()
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	must(start(cmd))
	_ = cmd.ExtraFiles[0].Close()
	must(waitForLine())
}

// ended runs cmd, which holds the pipe l, until its tree is there, ends it by
// kill, and returns how long it took until the last of the tree was gone.
func ended(t testing.TB, l *liveness, cmd *exec.Cmd, kill func() error) time.Duration {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer cmd.Wait()
	defer cmd.Process.Kill()
	l.let()
	// A thousand starts take a second or two, on a busy machine more.
	select {
	case s := <-l.lines:
		if s != "huge" {
			t.Fatalf("the tree said %q", s)
		}
	case <-time.After(6 * deadline):
		t.Fatal("the tree is not complete")
	}
	began := time.Now()
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	if !l.gone() {
		t.Fatalf("%d processes are left", len(l.holders()))
	}
	return time.Since(began)
}

func ownerKilled(t testing.TB, strategy string) time.Duration {
	l := newLiveness(t)
	cmd := l.carry(role("huge-owner", strategyEnv+"="+strategy))
	return ended(t, l, cmd, func() error { return cmd.Process.Kill() })
}

func bareInitKilled(t testing.TB) time.Duration {
	l := newLiveness(t)
	cmd := l.carry(hugeCommand())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	return ended(t, l, cmd, func() error { return cmd.Process.Kill() })
}

func bareCgroupKill(t testing.TB) time.Duration {
	tree, err := makeTree()
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Lock.Close()
	defer tree.End(time.Now().Add(deadline))
	l := newLiveness(t)
	cmd := l.carry(hugeCommand())
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(tree.Lock.Fd())}
	return ended(t, l, cmd, func() error { return os.WriteFile(string(tree.Group)+"/cgroup.kill", []byte("1"), 0) })
}
