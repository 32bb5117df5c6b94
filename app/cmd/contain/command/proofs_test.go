package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// proofFile is what .ci/job prove writes.
type proofFile struct {
	System, Arch, User, Build, Commit, Date, By string
	Proof                                       proof
}

// TestProofs keeps the table of what was proved where, by what and when what the
// files in .docs/proofs say.
func TestProofs(t *testing.T) {
	const file, begin, end = "../../../../.docs/proof.md", "TestProofs -update -->\n", "<!-- /proofs -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of proofs", file)
	}
	files, err := readProofs("../../../../.docs/proofs")
	if err != nil {
		t.Fatal(err)
	}
	want := before + begin + proofTable(files, whatDeclares()) + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, []byte(want)) {
		t.Error("the table of proofs in .docs/proof.md is not current; run go test ./app/cmd/contain/command -run TestProofs -update")
	}
}

// readProofs returns the files of a directory, the latest first.
func readProofs(dir string) ([]proofFile, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var files []proofFile
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var f proofFile
		if err := json.Unmarshal(b, &f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if f.System == "" || f.Date == "" || f.Commit == "" || f.By == "" || f.Proof.Schema == 0 {
			return nil, fmt.Errorf("%s does not say where, by what and when", name)
		}
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b proofFile) int { return cmp.Compare(b.Date, a.Date) })
	return files, nil
}

// whatDeclares lists the strategies that declare anything.
func whatDeclares() (ds []registry.Description) {
	for _, p := range []registry.Platform{registry.PlatformLinux, registry.PlatformWindows, registry.PlatformDarwin} {
		for _, s := range registry.Default().Candidates(p) {
			if d := s.Describe(); d.Platform == p && len(d.Guarantees) > 0 {
				ds = append(ds, d)
			}
		}
	}
	return ds
}

// proofTable has a row for each guarantee. What a file proves counts only for what is
// declared today, and the latest file of a system and user decides.
func proofTable(files []proofFile, ds []registry.Description) string {
	var b strings.Builder
	var sources []string // those that a cell names
	b.WriteString("| strategy | guarantee | proved |\n|---|---|---|\n")
	for _, d := range ds {
		for _, g := range d.Guarantees {
			var cells []string
			seen := map[string]bool{}
			for _, f := range files {
				for _, w := range f.Proof.Rows {
					where := f.System + " " + f.Arch + " as " + f.User
					if w.Strategy != d.Name || w.Event != g.Event || seen[where] {
						continue
					}
					seen[where] = true
					if w.Reach != g.Reach || w.Enforcer != g.Enforcer || w.Within != g.Within.String() {
						continue // of something else
					}
					source := fmt.Sprintf("%s: %s, commit %s, %s", where, f.By, f.Commit, f.Date)
					if !slices.Contains(sources, source) {
						sources = append(sources, source)
					}
					cells = append(cells, fmt.Sprintf("(%d) %s", slices.Index(sources, source)+1, verdict(f, w)))
				}
			}
			if len(cells) == 0 {
				cells = []string{"not run yet"}
			}
			fmt.Fprintf(&b, "| `%s` | %v | %s |\n", d.Name, g, strings.Join(cells, "; "))
		}
	}
	for i, source := range sources {
		fmt.Fprintf(&b, "\n(%d) %s\n", i+1, source)
	}
	return b.String()
}

// verdict says how many drills were held, and the median of what they took.
func verdict(f proofFile, w proofRow) string {
	switch {
	case !w.Proved:
		return "**refuted**"
	case f.Proof.Quick:
		return fmt.Sprintf("%d quick drills, %s", w.Drills-w.Skipped, w.Median)
	}
	return fmt.Sprintf("%d drills, %s", w.Drills-w.Skipped, w.Median)
}

// TestProofTable: what nobody has run is not proved, nor is what is declared otherwise
// by now; and the latest word counts.
func TestProofTable(t *testing.T) {
	d := registry.Description{Name: "any/x", Guarantees: []registry.Guarantee{
		{Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: 1e9},
		{Event: registry.EventLeaderExit, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: 1e9},
	}}
	row := proofRow{Strategy: "any/x", Event: registry.EventOwnerKilled, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel,
		Within: "1s", Proved: true, Drills: 3, Skipped: 1, Median: "2ms"}
	refuted, other := row, row
	refuted.Proved, other.Reach = false, registry.ReachChild
	file := func(date string, w proofRow) proofFile {
		return proofFile{System: "S 1", Arch: "a", User: "root", Commit: "c", By: "B", Date: date, Proof: proof{Rows: []proofRow{w}}}
	}
	head := "| strategy | guarantee | proved |\n|---|---|---|\n"
	const source = "\n(1) S 1 a as root: B, commit c, 2026-02-02\n"
	for name, tt := range map[string]struct {
		files      []proofFile
		cell, list string
	}{
		"nothing":            {nil, "not run yet", ""},
		"proved":             {[]proofFile{file("2026-02-02", row)}, "(1) 2 drills, 2ms", source},
		"refuted since":      {[]proofFile{file("2026-02-02", refuted), file("2026-01-01", row)}, "(1) **refuted**", source},
		"declared otherwise": {[]proofFile{file("2026-02-02", other), file("2026-01-01", row)}, "not run yet", ""},
	} {
		want := head + "| `any/x` | owner-killed=tree/kernel | " + tt.cell + " |\n| `any/x` | leader-exit=tree/kernel | not run yet |\n" + tt.list
		if got := proofTable(tt.files, []registry.Description{d}); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}
