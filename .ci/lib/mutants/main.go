// Mutants breaks the code on purpose and sees that a test fails. See .ci/mutants.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A mutant is one thing that is broken, and the test that is to find it.
type mutant struct {
	name string
	file string
	old  string // occurs once in the file
	new  string
	pkg  string // of the test
	run  string // the test, for -run
}

func main() {
	list := flag.Bool("list", false, "only see that every mutant's text is there")
	flag.Parse()
	only, err := regexp.Compile(flag.Arg(0))
	if err == nil {
		err = run(only, *list)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(only *regexp.Regexp, list bool) error {
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Every text is looked for first: one that has gone is no mutant any more.
	var bad []string
	chosen := mutants[:0:0]
	for _, m := range mutants {
		if !only.MatchString(m.name) {
			continue
		}
		chosen = append(chosen, m)
		if _, err := m.broken(); err != nil {
			bad = append(bad, err.Error())
		}
	}
	if len(chosen) == 0 {
		return errors.New("no mutant has such a name")
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "\n"))
	}
	if list {
		for _, m := range chosen {
			fmt.Printf("%s: %s, found by %s %s\n", m.name, m.file, m.pkg, m.run)
		}
		return nil
	}
	// What a broken supervisor leaves is ended by one that is not.
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "contain"), "./app/cmd/contain").CombinedOutput(); err != nil {
		return fmt.Errorf("build contain: %w\n%s", err, out)
	}
	passes := map[string]bool{}
	for _, m := range chosen {
		began := time.Now()
		if !passes[m.pkg+m.run] { // unbroken, or its failure says nothing
			if out, err := m.test(dir, ""); err != nil || !strings.Contains(out, "--- PASS") {
				return fmt.Errorf("%s: %s %s does not pass as it is: %w\n%s", m.name, m.pkg, m.run, err, out)
			}
			passes[m.pkg+m.run] = true
		}
		overlay, err := m.overlay(dir)
		if err != nil {
			return err
		}
		out, err := m.test(dir, overlay)
		switch found := strings.Contains(out, "--- FAIL") || strings.Contains(out, "panic: test timed out"); {
		case err != nil && found:
			fmt.Printf("%s: found in %s\n", m.name, time.Since(began).Round(time.Second))
		case err != nil:
			return fmt.Errorf("%s: neither built nor tested: %w\n%s", m.name, err, out)
		default:
			bad = append(bad, m.name)
			fmt.Printf("%s: NOT FOUND by %s %s\n", m.name, m.pkg, m.run)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d mutants live: %s", len(bad), len(chosen), strings.Join(bad, ", "))
	}
	fmt.Printf("all %d found\n", len(chosen))
	return nil
}

// broken returns the file as the mutant has it.
func (m *mutant) broken() ([]byte, error) {
	b, err := os.ReadFile(m.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	if n := bytes.Count(b, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s: the text to break is %d times in %s, want once: %q", m.name, n, m.file, m.old)
	}
	return bytes.Replace(b, []byte(m.old), []byte(m.new), 1), nil
}

// overlay writes what the go command needs to see the broken file, go help build.
func (m *mutant) overlay(dir string) (string, error) {
	text, err := m.broken()
	if err != nil {
		return "", err
	}
	file, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(broken, text, 0o644), os.WriteFile(overlay, replace, 0o644))
}

// test runs the mutant's test, with an overlay if there is one, which go commands
// that the test runs see, too.
func (m *mutant) test(dir, overlay string) (string, error) {
	cmd := exec.Command(filepath.Join(dir, "contain"), "run", "--strategy", "linux/subreaper", "--",
		"go", "test", "-count=1", "-vet=off", "-v", "-timeout=2m", "-run", m.run, m.pkg)
	if overlay != "" {
		cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+overlay)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
