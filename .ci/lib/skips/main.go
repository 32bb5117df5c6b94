// Skips runs "go test -json" with its arguments, shows what go test would, and
// fails if more tests are skipped in a package than the table beside it says.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

const tableFile = ".ci/lib/skips/budget.txt"

// event is a line of go test -json, see go doc test2json.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

func main() {
	ok, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(args []string) (bool, error) {
	budget, err := readBudget(tableFile)
	if err != nil {
		return false, err
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	r := &reader{budget: budget, texts: map[string]string{}, skips: map[string][]string{}}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text())
			continue
		}
		r.enter(e)
	}
	if err := lines.Err(); err != nil {
		return false, err
	}
	if err := cmd.Wait(); err != nil {
		return false, err
	}
	if r.packages == 0 {
		return false, fmt.Errorf("no package was tested")
	}
	return !r.over, nil
}

// readBudget reads lines of PACKAGE NUMBER REASON.
func readBudget(name string) (map[string]int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	budget := map[string]int{}
	for n, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 3 {
			return nil, fmt.Errorf("%s:%d: want PACKAGE NUMBER REASON", name, n+1)
		}
		if budget[f[0]], err = strconv.Atoi(f[1]); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
	}
	return budget, nil
}

type reader struct {
	budget   map[string]int
	texts    map[string]string   // what tests that have not ended have printed
	skips    map[string][]string // by package
	packages int
	over     bool
}

func (r *reader) enter(e event) {
	test := e.Package + " " + e.Test
	switch {
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Action == "output" && e.Test == "": // of the package itself
		r.texts[test] += e.Output
	case e.Action == "output":
		r.texts[test] += e.Output
	case e.Test != "":
		r.testEnds(e, test)
	case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
		r.packageEnds(e, test)
	}
}

func (r *reader) testEnds(e event, test string) {
	switch e.Action {
	case "fail":
		fmt.Print(r.texts[test])
	case "skip":
		r.skips[e.Package] = append(r.skips[e.Package], r.texts[test])
	case "pass":
	default:
		return // it goes on
	}
	delete(r.texts, test)
}

func (r *reader) packageEnds(e event, text string) {
	if e.Action == "fail" { // tests that did not end are why, if any
		for test, printed := range r.texts {
			if strings.HasPrefix(test, e.Package+" ") && test != text {
				fmt.Print(printed)
			}
		}
	}
	for line := range strings.Lines(r.texts[text]) {
		if line != "PASS\n" || e.Action == "fail" {
			fmt.Print(line)
		}
	}
	r.packages++
	_, name, _ := strings.Cut(e.Package, "/contain/")
	if n := len(r.skips[e.Package]); n > r.budget[name] {
		r.over = true
		fmt.Printf("%s: %d tests skipped, and %s allows %d:\n%s", e.Package, n, tableFile, r.budget[name], strings.Join(r.skips[e.Package], ""))
	}
}
