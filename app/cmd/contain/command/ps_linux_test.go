package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/app/containment"
)

func init() {
	roles["service"] = service
	roles["leaver"] = leaver
	roles["namesake"] = namesake
}

// service starts two backends under the strategy named and lives until its input ends.
func service() {
	c, err := containment.Install(context.Background(), containment.Config{Strategy: os.Args[1], OutliveParent: true})
	for range 2 {
		if err != nil {
			break
		}
		_, err = c.Start(exec.Command("sh", "-c", `trap "" TERM; sleep 1000 & while :; do sleep 1000; done`))
	}
	fmt.Println("up", err)
	bufio.NewScanner(os.Stdin).Scan()
}

// leaver starts a backend that leaves a process behind, which is to be let go, under
// the strategy named, and lives until its input ends.
func leaver() {
	c, err := containment.Install(context.Background(), containment.Config{Strategy: os.Args[1], OutliveParent: true})
	if err == nil {
		cmd := exec.Command("sh", "-c", `sh -c 'trap "" TERM; echo daemon >&3; while :; do sleep 1000; done' & echo leader >&3; exec sleep 1000`)
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
		_, err = c.Start(cmd, containment.OnLeaderExit(containment.Leave))
		go func() { _ = cmd.Wait() }()
	}
	fmt.Println("up", err)
	bufio.NewScanner(os.Stdin).Scan()
}

// namesake has a supervisor's name and nothing else of it.
func namesake() {
	name := []byte("contain-supervi\x00")
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	fmt.Println("up")
	bufio.NewScanner(os.Stdin).Scan()
}

// listed returns the row of the contain run that is p, or nil.
func (s *setting) listed(p *session) *psRow {
	s.t.Helper()
	if rows := s.owned(p); len(rows) > 0 {
		return &rows[0]
	}
	return nil
}

// owned returns the rows whose owner is p.
func (s *setting) owned(p *session) []psRow {
	s.t.Helper()
	out, err := s.command(s.bin, "ps", "-o", "json").Output()
	var answer struct{ Containments []psRow }
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		s.t.Fatalf("contain ps: %v %s", err, out)
	}
	for _, r := range answer.Containments {
		if age := time.Since(r.Started); r.Seconds < 0 || age < time.Duration(r.Seconds)*time.Second || age > time.Duration(r.Seconds)*time.Second+deadline {
			s.t.Errorf("started %v, %d s ago", r.Started, r.Seconds)
		}
	}
	return slices.DeleteFunc(answer.Containments, func(r psRow) bool { return r.Owner.PID != p.cmd.Process.Pid })
}

// stops runs contain stop and returns its exit code.
func (s *setting) stops(args ...string) int {
	cmd := s.command(s.bin, append([]string{"stop"}, args...)...)
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}

func TestPsAndStop(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		// The second ignores SIGTERM, and what it starts inherits that.
		other := start(t, s.run("--", "sh", "-c", "echo up; read line"))
		tough := start(t, s.run("--", "sh", "-c", "trap '' TERM; sleep 300 & echo up; read line; wait"))
		other.hear("up")
		tough.hear("up")
		row := s.listed(tough)
		if row == nil {
			t.Fatal("contain ps does not list a live contain run")
		}
		if row.Strategy != s.strategy || row.Leader.Name != "sh" || row.Processes != 2 {
			t.Errorf("contain ps says %+v; want %s, leader sh, 2 processes", *row, s.strategy)
		}
		if code := s.stops("--grace", "50ms", row.ID); code != 0 {
			t.Errorf("contain stop exits with %d", code)
		}
		select {
		case <-tough.ended:
		case <-time.After(deadline):
			t.Error("contain run lives after contain stop")
		}
		if s.listed(tough) != nil {
			t.Error("contain ps lists what has ended")
		}
		if code := s.stops(row.ID); code != launch.ExitFailure {
			t.Errorf("contain stop of an ended ID exits with %d", code)
		}
		if s.listed(other) == nil {
			t.Error("contain stop ended another containment")
		}
	})
}

// TestPsService: the backends of a service are listed one by one, and the end of
// one leaves the other alone.
func TestPsService(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		p := start(t, s.role("service", s.strategy))
		p.expect("up <nil>")
		var rows []psRow
		eventually(t, "both backends are listed with all their processes", func() bool {
			rows = s.owned(p)
			return len(rows) == 2 && rows[0].Processes == 3 && rows[1].Processes == 3
		})
		for _, r := range rows {
			if r.Strategy != s.strategy || r.Leader.Name != "sh" {
				t.Errorf("contain ps says %+v; want %s, leader sh", r, s.strategy)
			}
		}
		if code := s.stops("--grace", "10ms", rows[0].ID); code != 0 {
			t.Errorf("contain stop exits with %d", code)
		}
		if left := s.owned(p); len(left) != 1 || left[0].ID != rows[1].ID || left[0].Processes != 3 {
			t.Errorf("after the end of %s there is %+v", rows[0].ID, left)
		}
	})
}

// TestPsMembers: the processes are those that the command has, with their parents and
// their memory, and without contain's own.
func TestPsMembers(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		p := start(t, s.run("--", "sh", "-c", "sleep 300 & echo up; read line; kill $!"))
		p.expect("up")
		eventually(t, "the tree has shell and sleep", func() bool {
			out, err := s.command(s.bin, "ps", "--tree", "-o", "json").Output()
			var answer struct{ Containments []psRow }
			if err == nil {
				err = json.Unmarshal(out, &answer)
			}
			if err != nil {
				t.Fatalf("contain ps: %v %s", err, out)
			}
			for _, r := range answer.Containments {
				if r.Owner.PID != p.cmd.Process.Pid {
					continue
				}
				m := r.Members
				return r.Processes == 2 && len(m) == 2 && m[0].Name == "sh" && m[1].Name == "sleep" && m[1].Parent == m[0].PID && m[0].Memory > 100<<10 && m[1].Memory > 100<<10
			}
			return false
		})
	})
}

// TestPsWatch: it shows a tree on a terminal, again and again, until it is interrupted,
// which is no failure; the terminal is then as it was. Elsewhere it is refused.
func TestPsWatch(t *testing.T) {
	s := &setting{t: t, bin: containBinary(t)}
	out, err := s.command(s.bin, "ps", "--watch").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != launch.ExitFailure || !strings.Contains(string(out), "--watch needs a terminal") {
		t.Errorf("without a terminal: %v %s", err, out)
	}
	cmd := s.command(s.bin, "ps", "--tree", "--watch")
	tt := onTerminal(t, cmd)
	tt.expect("OWNER, CONTAINMENT, PROCESSES")
	tt.expect(clearScreen)
	tt.write(ctrlC)
	tt.expect(wrapping)
	tt.wait()
	if cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("%v after ^C", cmd.ProcessState)
	}
}

// TestPsSameNumber: two services that have the same PID in namespaces of their own
// have each its own backends.
func TestPsSameNumber(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		if s.cred != nil || os.Geteuid() != 0 {
			t.Skip("a PID namespace needs root")
		}
		services := make([]*session, 2)
		for i := range services {
			cmd := s.role("service", s.strategy)
			cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
			services[i] = start(t, inFreshProc(cmd))
			services[i].expect("up <nil>")
		}
		all := make(map[string]bool)
		for _, p := range services {
			var rows []psRow
			eventually(t, "both backends are listed with all their processes", func() bool {
				rows = s.owned(p)
				return len(rows) == 2 && rows[0].Processes == 3 && rows[1].Processes == 3
			})
			for _, r := range rows {
				all[r.ID] = true
			}
		}
		if len(all) != 4 {
			t.Errorf("%d backends, want 4: %v", len(all), all)
		}
	})
}

// inFreshProc has cmd, in namespaces of its own, mount its own /proc first.
func inFreshProc(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append([]string{"sh", "-c", `mount -t proc proc /proc && exec "$@"`, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// TestPsNamesake: a name does not make a supervisor.
func TestPsNamesake(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		p := start(t, s.role("namesake"))
		p.expect("up")
		out, err := s.command(s.bin, "ps", "-o", "json").CombinedOutput()
		if err != nil || strings.Contains(string(out), fmt.Sprintf(`"pid": %d,`, p.cmd.Process.Pid)) {
			t.Errorf("contain ps: %v %s", err, out)
		}
	})
}

// TestStopLeave: contain stop ends what contain run lets go, too.
func TestStopLeave(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		if s.strategy != "linux/subreaper" {
			t.Skip("it does not let go")
		}
		live := newLiveness(t)
		p := start(t, live.carry(s.run("--on-exit=leave", "--", "sh", "-c", `setsid sh -c 'trap "" TERM; echo daemon >&3; while :; do sleep 1000; done' & echo leader >&3; exec sleep 1000`)))
		heard := map[string]bool{<-live.lines: true, <-live.lines: true}
		if !heard["leader"] || !heard["daemon"] {
			t.Fatalf("heard %v", heard)
		}
		row := s.listed(p)
		if row == nil {
			t.Fatal("contain ps does not list a live contain run")
		}
		if code := s.stops("--grace", "50ms", row.ID); code != 0 {
			t.Errorf("contain stop exits with %d", code)
		}
		live.wantGone()
	})
}

// TestStopServiceLeave: the same of a service's backend.
func TestStopServiceLeave(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		if s.strategy == "linux/pidns" {
			t.Skip("it does not let go")
		}
		live := newLiveness(t)
		p := start(t, live.carry(s.role("leaver", s.strategy)))
		p.expect("up <nil>")
		heard := map[string]bool{<-live.lines: true, <-live.lines: true}
		if !heard["leader"] || !heard["daemon"] {
			t.Fatalf("heard %v", heard)
		}
		rows := s.owned(p)
		if len(rows) != 1 {
			t.Fatalf("contain ps lists %v", rows)
		}
		if code := s.stops("--grace", "50ms", rows[0].ID); code != 0 {
			t.Errorf("contain stop exits with %d", code)
		}
		for _, pid := range live.holders() {
			if pid != p.cmd.Process.Pid {
				t.Errorf("%d (%s) is left", pid, status(pid, "Name"))
			}
		}
	})
}

// TestStopFromInside: as PID 1 of its container contain takes no SIGKILL from
// inside. What it runs does.
func TestStopFromInside(t *testing.T) {
	eachSetting(t, func(t *testing.T, s *setting) {
		s.t = t
		if s.cred != nil || os.Geteuid() != 0 {
			t.Skip("a PID namespace needs root")
		}
		if s.strategy == "linux/pidns" {
			t.Skip("its processes have a /proc of their own")
		}
		cmd := s.run("--", "sh", "-c", `trap "" TERM; echo up; while :; do sleep 1000; done`)
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
		p := start(t, inFreshProc(cmd))
		p.expect("up")
		inside := func(args ...string) *exec.Cmd {
			a := append([]string{"--pid", "--mount", "--target", fmt.Sprint(p.cmd.Process.Pid), s.bin}, args...)
			return s.command("nsenter", a...)
		}
		out, err := inside("ps", "-o", "json").Output()
		var answer struct{ Containments []psRow }
		if err == nil {
			err = json.Unmarshal(out, &answer)
		}
		if err != nil || len(answer.Containments) != 1 {
			t.Fatalf("contain ps inside: %v %s", err, out)
		}
		// With PID 1 its whole namespace ends, contain stop included.
		out, err = inside("stop", "--grace", "50ms", answer.Containments[0].ID).CombinedOutput()
		if code := p.code(); code != 137 {
			t.Errorf("exit code %d; contain stop: %v %s", code, err, out)
		}
	})
}
