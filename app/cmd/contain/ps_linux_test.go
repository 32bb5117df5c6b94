package main

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// listed returns the row of the contain run that is p, or nil.
func (s *setting) listed(p *session) *psRow {
	s.t.Helper()
	out, err := s.command(s.bin, "ps", "-o", "json").Output()
	var answer struct{ Containments []psRow }
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		s.t.Fatalf("contain ps: %v %s", err, out)
	}
	i := slices.IndexFunc(answer.Containments, func(r psRow) bool { return r.Owner.PID == p.cmd.Process.Pid })
	if i < 0 {
		return nil
	}
	return &answer.Containments[i]
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
		if code := s.stops(row.ID); code != exitFailure {
			t.Errorf("contain stop of an ended ID exits with %d", code)
		}
		if s.listed(other) == nil {
			t.Error("contain stop ended another containment")
		}
	})
}
