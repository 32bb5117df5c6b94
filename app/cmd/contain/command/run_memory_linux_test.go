package command

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestRunReapsWithoutGrowth: every orphan that the command leaves is waited for,
// and none of them costs contain or its supervisor memory for good.
func TestRunReapsWithoutGrowth(t *testing.T) {
	orphans := 500
	if full() {
		orphans = 10_000
	}
	// Each line read asks for so many processes that lose their parent at once.
	const script = `echo ready; while read n; do i=0; while [ $i -lt $n ]; do ( : & ); i=$((i+1)); done; echo done; done`
	eachSetting(t, func(t *testing.T, s *setting) {
		p := start(t, s.run("--", "sh", "-c", script))
		p.expect("ready")
		super, leader := below(t, p.cmd.Process.Pid)
		leave := func(n int) {
			t.Helper()
			fmt.Fprintln(p.in, n)
			p.expect("done")
			eventually(t, "every orphan is reaped", func() bool { return hasNoOrphan(super, leader) })
		}
		leave(100) // what is allocated once is there now
		before := ownMemory(t, p.cmd.Process.Pid) + ownMemory(t, super)
		leave(orphans)
		after := ownMemory(t, p.cmd.Process.Pid) + ownMemory(t, super)
		// A page or two may be touched for the first time; 100 bytes for each would show.
		if grown := after - before; grown > 40<<10 {
			t.Errorf("%d orphans cost %d bytes of memory (from %d to %d)", orphans, grown, before, after)
		}
	})
}

// hasNoOrphan reports whether leader is the only child of super, zombies included.
func hasNoOrphan(super, leader int) bool {
	c := childrenOf(super)
	return len(c) == 1 && c[0] == leader
}

// ownMemory is what a process has in memory that is no page of a file, in bytes.
func ownMemory(t testing.TB, pid int) int {
	t.Helper()
	return memory(t, pid, "Anonymous")
}

// memory is a line of proc_pid_smaps(5), of the whole process, in bytes.
func memory(t testing.TB, pid int, line string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), line+":"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in smaps_rollup of %d", line, pid)
	return 0
}

// TestRunNeeds: with what .docs/limits.md says it needs contain runs its command; with less
// the Go runtime may end it, with 2, before any code of ours.
func TestRunNeeds(t *testing.T) {
	bin := staticContain(t)
	s := &setting{t: t, bin: bin}
	needs := map[string]string{"address space of 1 GiB": "ulimit -v 1048576"}
	if os.Geteuid() == 0 { // who has no limit on processes; and this user has no other process
		uid := uint32(1<<20 + os.Getpid())
		s.cred = &syscall.Credential{Uid: uid, Gid: uid}
		needs["12 processes"] = "ulimit -u 12"
	}
	for name, limit := range needs {
		for _, flags := range [][]string{nil, {"--quiet"}} {
			run := append(append([]string{"run"}, flags...), "--", "/bin/sh", "-c", "exit 3")
			p := start(t, s.command("bash", append([]string{"-c", limit + ` && exec "$@"`, "bash", bin}, run...)...))
			if code := p.code(); code != 3 {
				t.Errorf("%s, flags %q: exit code %d; %s", name, flags, code, p.stderr())
			}
		}
	}
	// The control: a limit is one.
	p := start(t, s.command("bash", "-c", `ulimit -v 65536 && exec "$0" run -- /bin/sh -c "exit 3"`, bin))
	if code := p.code(); code != 2 && code != 125 {
		t.Errorf("with 64 MiB: exit code %d", code)
	}
}

// TestRunMemory: what contain and its supervisor take while a command runs, of the
// binary that is released. The supervisor has no copy of Go's memory.
func TestRunMemory(t *testing.T) {
	if huge, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); strings.Contains(string(huge), "[always]") {
		t.Skip("every heap is made of huge pages here")
	}
	p := start(t, exec.Command(staticContain(t), "run", "--", "sh", "-c", "echo ready; read x"))
	p.expect("ready")
	super, _ := below(t, p.cmd.Process.Pid)
	eventually(t, "contain has given up its streams", func() bool {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", p.cmd.Process.Pid))
		return err == nil && to == "/dev/null"
	})
	contain, supervisor := memory(t, p.cmd.Process.Pid, "Pss"), memory(t, super, "Pss")
	t.Logf("PSS: contain %d KiB, its supervisor %d KiB", contain>>10, supervisor>>10)
	if both := contain + supervisor; both > 3<<20+1<<19 {
		t.Errorf("contain and its supervisor have %d KiB", both>>10)
	}
	if own := ownMemory(t, super); own > 512<<10 {
		t.Errorf("the supervisor has %d KiB that are no page of a file", own>>10)
	}
}
