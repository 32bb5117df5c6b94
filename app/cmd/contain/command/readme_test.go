package command

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

var update = flag.Bool("update", false, "rewrite what is generated in README.md")

// TestLinks: what README and the pages of .docs link to within the repository exists, and
// README fits a few screens.
func TestLinks(t *testing.T) {
	const root = "../../../../"
	pages, err := filepath.Glob(root + ".docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(err, " no pages")
	}
	contributing, err := filepath.Glob(root + ".github/*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, page := range append(append(pages, contributing...), root+"README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), string(link[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		if lines := bytes.Count(text, []byte("\n")); page == root+"README.md" && lines > 150 {
			t.Errorf("README.md has %d lines; what is evidence belongs into .docs", lines)
		}
	}
}

// TestReadme keeps the table of strategies in README.md what describe says.
func TestReadme(t *testing.T) {
	const file, begin, end = "../../../../README.md", "-update -->\n", "<!-- /strategies -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table of strategies", file)
	}
	want := before + begin + strategyTable() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, []byte(want)) {
		t.Errorf("the table of strategies in README.md is not current; run go test ./app/cmd/contain/command -run TestReadme -update")
	}
}

func strategyTable() string {
	var b strings.Builder
	b.WriteString("| strategy | owner killed | owner and supervisor killed | leader exits | chosen |\n|---|---|---|---|---|\n")
	cell := func(d registry.Description, e registry.Event) string {
		g, ok := d.Guarantee(e)
		if !ok {
			return "–"
		}
		return fmt.Sprintf("%s, %s, %v", g.Reach, g.Enforcer, g.Within)
	}
	for _, p := range []registry.Platform{registry.PlatformLinux, registry.PlatformWindows, registry.PlatformDarwin, registry.PlatformAny} {
		for _, s := range registry.Default().Candidates(p) {
			d := s.Describe()
			if d.Platform != p {
				continue
			}
			chosen := "if it is the strongest that works"
			switch {
			case d.OptIn:
				chosen = "opt-in"
			case len(d.Unmet([]registry.Requirement{registry.DefaultRequirement()})) > 0:
				chosen = "by name, or with best effort"
			}
			if d.Unproved != "" {
				chosen += "; declared, unproved"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.Name, cell(d, registry.EventOwnerKilled),
				cell(d, registry.EventBothKilled), cell(d, registry.EventLeaderExit), chosen)
		}
	}
	return b.String()
}
