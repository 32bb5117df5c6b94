package walk

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// leader starts a script in a process group of its own, and returns it and the
// process when the script has said "ready". What seen holds at the end is killed.
func leader(t *testing.T, script string) (*exec.Cmd, proctree.Process, *seen) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &seen{}
	t.Cleanup(func() {
		for _, p := range s.all {
			_ = proctree.Signal(p, syscall.SIGKILL)
		}
		if cmd.ProcessState == nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group exists until Wait
			_ = cmd.Wait()
		}
		stdin.Close()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the script said %q, %v", line, err)
	}
	p, err := proctree.Lookup(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, p, s
}

type seen struct{ all []proctree.Process }

func (s *seen) add(p proctree.Process) { s.all = append(s.all, p) }

func scan(t *testing.T, tree *Tree) {
	t.Helper()
	if _, err := tree.Scan(); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func gone(p proctree.Process) bool {
	now, err := proctree.Lookup(p.PID)
	return errors.Is(err, os.ErrProcessDone) || err == nil && (!now.Same(p) || now.Zombie)
}

func member(tree *Tree, name string) (p proctree.Process, ok bool) {
	for _, p := range tree.Members() {
		if p.Name == name {
			return p, true
		}
	}
	return p, false
}

// TestOrphanThatWasSeen: a daemon stays a member when its parent has gone.
func TestOrphanThatWasSeen(t *testing.T) {
	_, l, s := leader(t, `setsid sh -c 'sleep 1000 & echo ready; wait' & read x; wait`)
	tree := &Tree{Table: System{}, Self: l.PID, Added: s.add}
	var daemon proctree.Process
	eventually(t, "the daemon is seen", func() bool {
		scan(t, tree)
		var ok bool
		daemon, ok = member(tree, "sleep")
		return ok
	})
	var parent proctree.Process
	for _, p := range tree.Members() {
		if p.PID == daemon.PPID {
			parent = p
		}
	}
	if err := proctree.Signal(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon has another parent", func() bool {
		now, err := proctree.Lookup(daemon.PID)
		return err == nil && now.PPID != parent.PID
	})
	// The control: who looks only now does not find it.
	late := &Tree{Table: System{}, Self: l.PID}
	scan(t, late)
	if _, found := member(late, "sleep"); found {
		t.Skip("an ancestor of this test is a subreaper below the shell")
	}
	eventually(t, "nothing is left", func() bool {
		left, err := tree.Kill(syscall.SIGKILL)
		if err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
	if !gone(daemon) {
		t.Error("the daemon lives")
	}
}

// TestOrphanOfTheGroup: one whose parents had gone before it was seen is found
// by its process group, and only so.
func TestOrphanOfTheGroup(t *testing.T) {
	_, l, s := leader(t, `(sleep 1000 & ) ; echo ready; read x; wait`)
	without := &Tree{Table: System{}, Self: os.Getpid()}
	without.Know(l)
	scan(t, without)
	if _, found := member(without, "sleep"); found {
		t.Error("the control found the orphan without the group")
	}
	tree := &Tree{Table: System{}, Self: os.Getpid(), Group: l.PID, Added: s.add}
	tree.Know(l)
	eventually(t, "the orphan is seen", func() bool {
		scan(t, tree)
		_, found := member(tree, "sleep")
		return found
	})
	proxied := &Tree{Table: System{}, Self: os.Getpid(), Proxy: l.PID, Group: l.PID}
	scan(t, proxied)
	if n := len(proxied.Members()); n != 0 {
		t.Errorf("%d members of a group in which nobody is known", n)
	}
	eventually(t, "nothing is left", func() bool {
		left, err := tree.Kill(syscall.SIGKILL)
		if err != nil {
			t.Fatal(err)
		}
		return left == 0
	})
	for _, p := range s.all {
		if !gone(p) {
			t.Errorf("%+v lives", p)
		}
	}
}

// real ends a real tree.
type real struct {
	t       *testing.T
	tree    *Tree
	reports int
	late    bool
}

func (r *real) Look() int {
	if _, err := r.tree.Scan(); err != nil {
		r.t.Error(err)
	}
	return len(r.tree.Members())
}

func (r *real) Kill() int {
	left, err := r.tree.Kill(syscall.SIGKILL)
	if err != nil {
		r.t.Error(err)
	}
	return left
}

func (r *real) Mirror() {}

func (r *real) Report(late bool) { r.reports, r.late = r.reports+1, r.late || late }

// TestLoopEndsARealTree runs a tree that keeps forking, ignores what can be
// ignored and has left the session, until the owner is "gone".
func TestLoopEndsARealTree(t *testing.T) {
	cmd, l, s := leader(t, `
		trap '' TERM INT HUP
		n=0; while [ $n -lt 20 ]; do setsid sh -c 'i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait' & n=$((n+1)); done
		echo ready; wait`)
	r := &real{t: t, tree: &Tree{Table: System{}, Self: os.Getpid(), Added: s.add}}
	r.tree.Know(l)
	events := make(chan supervisor.Event, 2)
	go func() {
		_ = cmd.Wait()
		events <- supervisor.LeaderSIGKILLed
	}()
	events <- supervisor.OwnerGone
	loop := Loop{Deeds: r, Events: events, Deadline: 10 * time.Second}
	loop.Run()
	if r.reports != 1 || r.late {
		t.Errorf("%d reports, late %v", r.reports, r.late)
	}
	for _, p := range s.all {
		if !gone(p) {
			t.Errorf("%+v lives", p)
		}
	}
	if len(s.all) < 20 {
		t.Errorf("only %d processes were seen", len(s.all))
	}
}
