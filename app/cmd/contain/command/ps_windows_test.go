package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
)

// ownedBy returns the rows of contain ps whose owner is the process.
func ownedBy(t *testing.T, pid int) []psRow {
	t.Helper()
	out, err := containRun("", "ps", "--tree", "-o", "json").Output()
	var answer struct{ Containments []psRow }
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err != nil {
		t.Fatalf("contain ps: %v %s", err, out)
	}
	return slices.DeleteFunc(answer.Containments, func(r psRow) bool { return r.Owner.PID != pid })
}

// stops runs contain stop and returns its exit code.
func stops(id string) int {
	cmd := containRun("", "stop", id)
	cmd.Stderr = nil
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}

// TestPsAndStop: one of two containments is ended; the other is the control.
func TestPsAndStop(t *testing.T) {
	contain, other := containRun("tree"), containRun("tree")
	tree, others := started(t, contain), started(t, other)
	rows := ownedBy(t, contain.Process.Pid)
	if len(rows) != 1 {
		t.Fatalf("contain ps lists %d containments of a contain run: %+v", len(rows), rows)
	}
	row := rows[0]
	if row.Strategy != "windows/job" || row.Leader.Name != "cmd.exe" || row.Processes != 3 || row.Owner.Name == "" {
		t.Errorf("contain ps says %+v; want windows/job, the leader cmd.exe, 3 processes", row)
	}
	below := 0
	for _, m := range row.Members {
		if m.Name == "" || m.Memory == 0 {
			t.Errorf("contain ps --tree says %+v", m)
		}
		if slices.ContainsFunc(row.Members, func(p psMember) bool { return p.PID == m.Parent }) {
			below++
		}
	}
	if len(row.Members) != 3 || below != 2 {
		t.Errorf("contain ps --tree says %+v; want 3 processes, 2 of which have their parent there", row.Members)
	}
	if code := stops(row.ID); code != 0 {
		t.Errorf("contain stop exits with %d", code)
	}
	if n := alive(tree, 0); n != 0 { // gone before contain stop has exited
		t.Errorf("%d of %d processes survive contain stop", n, len(tree))
	}
	_ = contain.Wait()
	if code := stops(row.ID); code != launch.ExitFailure {
		t.Errorf("contain stop of an ended ID exits with %d", code)
	}
	if n := alive(others, settle); n != len(others) {
		t.Errorf("%d of %d processes of another containment live", n, len(others))
	}
	if rows := ownedBy(t, other.Process.Pid); len(rows) != 1 {
		t.Errorf("contain ps lists %d containments of the other contain run", len(rows))
	}
}

// TestPsForgedName: a job is listed only if its name names a process that is alive
// and was created when the name says.
func TestPsForgedName(t *testing.T) {
	var created, unused windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &unused, &unused, &unused); err != nil {
		t.Fatal(err)
	}
	leaf := exec.Command(os.Args[0])
	leaf.Env = append(os.Environ(), envPart+"=leaf")
	if err := leaf.Start(); err != nil {
		t.Fatal(err)
	}
	defer leaf.Wait()
	defer leaf.Process.Kill()
	hold := func(nanoseconds int64, tag string) {
		name := fmt.Sprintf("contain-windows-job-%d-%s-%s", os.Getpid(), strconv.FormatInt(nanoseconds, 36), tag)
		p, err := windows.UTF16PtrFromString(name)
		if err != nil {
			t.Fatal(err)
		}
		job, err := windows.CreateJobObject(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = windows.CloseHandle(job) })
		handleErr := leaf.Process.WithHandle(func(h uintptr) { err = windows.AssignProcessToJobObject(job, windows.Handle(h)) })
		if err := errors.Join(handleErr, err); err != nil {
			t.Fatal(err)
		}
	}
	hold(created.Nanoseconds()+1000, "forged") // jobs nest, so the leaf is in both
	hold(created.Nanoseconds(), "true")
	rows := ownedBy(t, os.Getpid())
	if want := fmt.Sprintf("%d-true", os.Getpid()); len(rows) != 1 || rows[0].ID != want || rows[0].Processes != 1 {
		t.Errorf("contain ps lists %+v, want %s alone", rows, want)
	}
}
