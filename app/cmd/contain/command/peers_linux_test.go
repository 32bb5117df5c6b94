package command

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The comparison with other launchers runs where CONTAIN_PEERS is the number of
// rounds. With -update it rewrites its tables in .docs/figures.md and its chart, as
// .ci/peers asks for.
const peersEnv = "CONTAIN_PEERS"

// A peer is a launcher, called as a user would call it for containment as strong
// as it can give.
type peer struct {
	name string
	args []string // before the command; "contain" stands for the static binary
	// user is what an unprivileged user has to say instead; nil: the same.
	user []string
	// init: it is made for PID 1 of a container.
	init bool
}

const (
	baseline = "bubblewrap" // what the ratios are of
	bare     = "nothing"
)

var peers = []peer{
	{name: bare},
	{name: "contain run", args: []string{"contain", "run", "--"}, init: true},
	{name: "tini", args: []string{"tini", "-s", "--"}, init: true},
	{name: "dumb-init", args: []string{"dumb-init", "--"}, init: true},
	{name: "catatonit", args: []string{"catatonit", "--"}, init: true},
	{name: "setpriv --pdeathsig", args: []string{"setpriv", "--pdeathsig", "KILL", "--"}},
	{name: "unshare --kill-child", args: []string{"unshare", "--pid", "--fork", "--kill-child", "--"},
		user: []string{"unshare", "--user", "--pid", "--fork", "--kill-child", "--"}},
	{name: baseline, args: []string{"bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--die-with-parent", "--"}},
}

// command returns the launcher with a command, as root or as an unprivileged user.
func (p *peer) command(contain string, cred *syscall.Credential, command ...string) *exec.Cmd {
	args := p.args
	if cred != nil && p.user != nil {
		args = p.user
	}
	args = slices.Concat(args, command)
	if args[0] == "contain" {
		args[0] = contain
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	return cmd
}

// TestPeers measures start-up and behaviour, and judges only contain's behaviour.
func TestPeers(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv(peersEnv))
	if rounds <= 0 {
		t.Skipf("set %s to a number of rounds where the peers are installed; .ci/peers does", peersEnv)
	}
	if os.Geteuid() != 0 {
		t.Fatal("it needs root, to be root and an unprivileged user in turn")
	}
	contain := staticContain(t)
	var text strings.Builder
	fmt.Fprintf(&text, "Linux %s, %d CPUs (%s), %d rounds. µs from start to wait of `LAUNCHER /bin/true`: median (quartiles);\n× is the median of the rounds' ratios to bubblewrap.\n\n", kernelRelease(t), cpus(), cpuModel(), rounds)
	asRoot := race(t, contain, nil, rounds)
	asUser := race(t, contain, &syscall.Credential{Uid: 65534, Gid: 65534}, rounds)
	text.WriteString(timesTable(asRoot, asUser) + "\n![start-up times](startup.svg)\n\n" + behaviourTable(t, contain))
	t.Log("\n" + text.String())
	if *update {
		publish(t, text.String(), chart(asRoot, asUser))
	}
}

// race times every launcher once in each round, in random order. It returns the
// times by name; a launcher that does not work for this user has none.
func race(t *testing.T, contain string, cred *syscall.Credential, rounds int) map[string][]time.Duration {
	times := map[string][]time.Duration{}
	var runners []*peer
	for i := range peers {
		p := &peers[i]
		if out, err := p.command(contain, cred, "/bin/true").CombinedOutput(); err != nil {
			t.Logf("%s does not work with %+v: %v: %s", p.name, cred, err, out)
			continue
		}
		runners = append(runners, p)
	}
	for range rounds {
		for _, i := range rand.Perm(len(runners)) {
			cmd := runners[i].command(contain, cred, "/bin/true")
			began := time.Now()
			if err := cmd.Run(); err != nil {
				t.Fatalf("%s: %v", runners[i].name, err)
			}
			times[runners[i].name] = append(times[runners[i].name], time.Since(began))
		}
	}
	return times
}

// quantile returns the value below which a part q, from 0 to 1, of the values lies.
func quantile[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1))]
}

// ratio is the median of the ratios of two launchers in the same rounds.
func ratio(times, base []time.Duration) float64 {
	ratios := make([]float64, len(times))
	for i := range times {
		ratios[i] = float64(times[i]) / float64(base[i])
	}
	return quantile(ratios, 0.5)
}

func timesTable(columns ...map[string][]time.Duration) string {
	var b strings.Builder
	b.WriteString("| launcher | as root | × | as an unprivileged user | × |\n|---|---|---|---|---|\n")
	for _, p := range peers {
		fmt.Fprintf(&b, "| %s |", p.name)
		for _, times := range columns {
			own, base := times[p.name], times[baseline]
			switch {
			case len(own) == 0:
				b.WriteString(" does not work | – |")
			case len(base) == 0:
				fmt.Fprintf(&b, " %s | – |", spread(own))
			default:
				fmt.Fprintf(&b, " %s | %.2f |", spread(own), ratio(own, base))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func spread(times []time.Duration) string {
	return fmt.Sprintf("%d (%d–%d)", quantile(times, 0.5).Microseconds(), quantile(times, 0.25).Microseconds(), quantile(times, 0.75).Microseconds())
}

// behaviour is what a launcher was seen to do.
type behaviour struct {
	forwards, reaps, reapsMeant, gone, codes, hostPIDs bool
}

func behaviourTable(t *testing.T, contain string) string {
	mark := func(ok bool) string {
		if ok {
			return "yes"
		}
		return "no"
	}
	var b strings.Builder
	b.WriteString("| launcher | forwards TERM, HUP, USR1 | reaps as PID 1 | tree gone when it is SIGKILLed | 126 and 127 | the command sees the host's PIDs |\n|---|---|---|---|---|---|\n")
	for i := range peers {
		p := &peers[i]
		if p.name == bare {
			continue
		}
		seen := p.observe(t, contain)
		reaps := mark(seen.reaps)
		if !seen.reapsMeant {
			reaps = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", p.name, mark(seen.forwards), reaps, mark(seen.gone), mark(seen.codes), mark(seen.hostPIDs))
		if good := (behaviour{true, true, true, true, true, true}); p.name == "contain run" && seen != good {
			t.Errorf("contain run: %+v", seen)
		}
	}
	b.WriteString("| linux-sandbox (by its source, not measured) | TERM only, with `-t` | yes | yes | no | no |\n")
	return b.String()
}

// observe finds out how the launcher behaves, as root.
func (p *peer) observe(t *testing.T, contain string) behaviour {
	return behaviour{
		forwards: p.forwards(t, contain), reaps: p.init && p.reaps(t, contain), reapsMeant: p.init,
		gone: p.gone(t, contain), codes: p.codes(t, contain), hostPIDs: p.hostPIDs(t, contain),
	}
}

// trial is a launcher that runs without standard streams: no pipe of the
// test's keeps its wait from returning.
type trial struct {
	cmd   *exec.Cmd
	live  *liveness // descriptor 3 of all that it starts
	ended chan struct{}
	once  sync.Once
}

// try starts a launcher; the test ends it and whatever it leaves.
func try(t *testing.T, cmd *exec.Cmd) *trial {
	t.Helper()
	l := &trial{live: newLiveness(t), ended: make(chan struct{})}
	l.cmd = l.live.carry(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(l.ended) }()
	t.Cleanup(l.end)
	return l
}

// end ends the launcher and whatever it has left.
func (l *trial) end() {
	l.once.Do(func() { // the pipe's number may be another's once it is closed
		_ = l.cmd.Process.Kill()
		<-l.ended
		l.live.w.Close()
		l.live.end()
		l.live.r.Close()
	})
}

// within is how long an event is waited for that a launcher may not bring about.
const within = 2 * time.Second

// forwards: signals sent to the launcher reach the command's handlers, and the
// exit code that they choose comes back.
func (p *peer) forwards(t *testing.T, contain string) bool {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1} {
		l := try(t, p.command(contain, nil, "/bin/sh", "-c", "trap 'exit 42' TERM HUP USR1; sleep 1000 & echo ready >&3; wait"))
		l.live.expect("ready")
		if err := l.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-l.ended:
		case <-time.After(within):
		}
		l.end()
		if l.cmd.ProcessState.ExitCode() != 42 {
			t.Logf("%s after %v: %v", p.name, sig, l.cmd.ProcessState)
			return false
		}
	}
	return true
}

// reaps: as PID 1, the launcher leaves no zombie of what it adopts.
func (p *peer) reaps(t *testing.T, contain string) bool {
	const command = `mkfifo -m 600 $0; for i in 1 2 3 4 5; do (/bin/sh -c "read go <$0; echo orphan >&3" &); done; echo ready >&3; exec sleep 1000`
	fifo := filepath.Join(t.TempDir(), "go")
	inner := p.command(contain, nil, "/bin/sh", "-c", command, fifo)
	l := try(t, exec.Command("unshare", slices.Concat([]string{"--pid", "--fork", "--kill-child", "--mount-proc", "--"}, inner.Args)...))
	defer l.end()
	l.live.expect("ready")
	pid := l.cmd.Process.Pid
	eventually(t, "the command is sleep", func() bool { return hasNamed(pid, "sleep") })
	gate, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	_, _ = gate.WriteString(strings.Repeat("go\n", 5))
	for range 5 {
		l.live.expect("orphan")
	}
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, zombies := inside(pid); zombies == 0 && !hasNamed(pid, "sh") {
			return true
		}
	}
	return false
}

// gone: the launcher is SIGKILLed, and a daemon of the command ends.
func (p *peer) gone(t *testing.T, contain string) bool {
	l := try(t, p.command(contain, nil, "/bin/sh", "-c", "setsid sleep 1000 & echo ready >&3; wait"))
	defer l.end()
	l.live.expect("ready")
	_ = l.cmd.Process.Kill()
	<-l.ended
	l.live.w.Close()
	select {
	case <-l.live.lines: // closed: nobody holds the pipe
		return true
	case <-time.After(within):
		return false
	}
}

// codes: 127 for what is not found and 126 for what cannot be executed.
func (p *peer) codes(t *testing.T, contain string) bool {
	for want, command := range map[int]string{126: "/etc/passwd", 127: "/bin/no-such-command"} {
		err := p.command(contain, nil, command).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != want {
			t.Logf("%s %s: %v", p.name, command, err)
			return false
		}
	}
	return true
}

// hostPIDs: the command is in the PID namespace of the caller, so that the PIDs
// that it sees and tells are the host's.
func (p *peer) hostPIDs(t *testing.T, contain string) bool {
	l := try(t, p.command(contain, nil, "/bin/sh", "-c", "echo $$ >&3; exec sleep 1000"))
	defer l.end()
	select {
	case line := <-l.live.lines:
		pid, _ := strconv.Atoi(line)
		return slices.Contains(l.live.holders(), pid)
	case <-time.After(deadline):
		t.Fatalf("%s: no PID within %v", p.name, deadline)
		return false
	}
}

// publish writes the table into .docs/figures.md, between its marks, and the chart.
func publish(t *testing.T, text, svg string) {
	t.Helper()
	const root, begin, end = "../../../../.docs/", "<!-- peers: generated by .ci/peers -->\n", "<!-- /peers -->"
	page, err := os.ReadFile(root + "figures.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatal(".docs/figures.md has no place for the comparison")
	}
	writeFile(t, root+"figures.md", string(before)+begin+text+end+string(after))
	writeFile(t, root+"startup.svg", svg)
}

// chart draws the medians, and the quartiles as lines, as SVG that is legible on
// a light and on a dark page.
func chart(asRoot, asUser map[string][]time.Duration) string {
	const left, width, bar, row = 170, 480, 11, 36
	longest := time.Duration(1)
	for _, column := range []map[string][]time.Duration{asRoot, asUser} {
		for _, times := range column {
			longest = max(longest, quantile(times, 0.75))
		}
	}
	x := func(d time.Duration) float64 { return float64(d) / float64(longest) * width }
	height := 40 + row*len(peers)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="12">
<title>Time from start to wait of LAUNCHER /bin/true: median and quartiles, in microseconds</title>
<style>text{fill:#1f2328}.root{fill:#0969da}.user{fill:#8250df}line{stroke:#1f2328}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.root{fill:#4493f8}.user{fill:#ab7df8}line{stroke:#e6edf3}}</style>
<rect class="root" x="%d" y="8" width="10" height="10"/><text x="%d" y="17">root</text>
<rect class="user" x="%d" y="8" width="10" height="10"/><text x="%d" y="17">unprivileged user</text>
`, left+width+70, height, left+width+70, height, left, left+15, left+70, left+85)
	for i, p := range peers {
		y := 30 + i*row
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left-8, y+bar+5, p.name)
		for j, column := range []map[string][]time.Duration{asRoot, asUser} {
			times := column[p.name]
			if len(times) == 0 {
				continue
			}
			median, top := quantile(times, 0.5), y+j*(bar+2)
			fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>", []string{"root", "user"}[j], left, top, x(median), bar)
			fmt.Fprintf(&b, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", left+x(quantile(times, 0.25)), left+x(quantile(times, 0.75)), top+bar/2, top+bar/2)
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" font-size=\"10\">%d</text>\n", left+x(quantile(times, 0.75))+5, top+bar-2, median.Microseconds())
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func kernelRelease(t *testing.T) string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// cpus counts the CPUs that this process may use.
func cpus() int {
	var set unix.CPUSet
	_ = unix.SchedGetaffinity(0, &set)
	return set.Count()
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// BenchmarkRun is the start-up of the command as it is released: from the start
// of contain run, by default or with a strategy, until it has been waited for.
func BenchmarkRun(b *testing.B) {
	contain := staticContain(b)
	for name, args := range map[string][]string{
		"bare":      nil,
		"default":   {contain, "run", "--"},
		"cgroup":    {contain, "run", "--strategy", "linux/cgroup", "--"},
		"subreaper": {contain, "run", "--strategy", "linux/subreaper", "--"},
		"pidns":     {contain, "run", "--strategy", "linux/pidns", "--"},
	} {
		b.Run(name, func(b *testing.B) {
			args := append(args, "/bin/true")
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				b.Skipf("%q does not work here: %v: %s", args, err, out)
			}
			for b.Loop() {
				if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// readable lets every user into a directory of t.TempDir's.
func readable(t testing.TB, dir string) string {
	t.Helper()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
