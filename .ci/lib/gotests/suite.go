//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mode is how commands are contained, or that they are not (a control).
type mode struct {
	strategy, how, exit, user string
}

func (m mode) String() string {
	return strings.Join(m.words(), " ")
}

func (m mode) words() []string {
	if m.plain() {
		return []string{"plain", m.user}
	}
	return []string{m.strategy, m.how, m.exit, m.user}
}

func (m mode) plain() bool { return m.strategy == "" }

func (m mode) control() mode { return mode{user: m.user} }

func parseMode(s string) (mode, error) {
	w := strings.Fields(s)
	if len(w) != 4 || !slices.Contains([]string{"start", "wrap"}, w[1]) ||
		!slices.Contains([]string{"kill", "wait", "leave"}, w[2]) || !slices.Contains([]string{"root", "nobody"}, w[3]) {
		return mode{}, fmt.Errorf("mode %q: give STRATEGY start|wrap kill|wait|leave root|nobody", s)
	}
	return mode{w[0], w[1], w[2], w[3]}, nil
}

// verdict is how a test ended; "" means that it did not.
type verdict string

const (
	passed  verdict = "PASS"
	failed  verdict = "FAIL"
	skipped verdict = "SKIP"
)

// results are by test name, subtests included.
type results struct {
	verdicts map[string]verdict
	texts    map[string]string
}

// suite is one package's tests, compiled.
type suite struct {
	pkg, binary, dir string
	tests            []string
}

// lab is where suites run.
type lab struct {
	dir     string // scratch
	goroot  string
	counter string // a file that every contained start adds a byte to
	uid     int    // the user nobody
	cgroup  *os.File
}

const (
	suiteLimit = 3 * time.Minute
	testLimit  = 40 * time.Second
	// failingLimit is that of a test that is expected to fail, as some do by not ending.
	failingLimit = 10 * time.Second
)

// run runs the tests of s that have been chosen. One that ends the whole binary
// does not take the others with it: they are run again by themselves, as are
// those that are expected to fail, from the beginning.
func (l *lab) run(ctx context.Context, s *suite, m mode, alone func(test string) bool) (*results, error) {
	all := &results{map[string]verdict{}, map[string]string{}}
	if together := slices.DeleteFunc(slices.Clone(s.tests), alone); len(together) > 0 {
		if err := l.runOnce(ctx, s, m, together, suiteLimit, all); err != nil {
			return nil, err
		}
	}
	for _, t := range s.tests {
		if all.verdicts[t] != "" {
			continue
		}
		limit := testLimit
		if alone(t) {
			limit = failingLimit
		}
		if err := l.runOnce(ctx, s, m, []string{t}, limit, all); err != nil {
			return nil, err
		}
		if all.verdicts[t] == "" {
			all.verdicts[t] = failed // it ended the binary, or did not end
		}
	}
	return all, nil
}

// again runs one test, which may be a subtest, by itself.
func (l *lab) again(ctx context.Context, s *suite, m mode, test string) (verdict, string, error) {
	all := &results{map[string]verdict{}, map[string]string{}}
	err := l.runOnce(ctx, s, m, []string{test}, testLimit, all)
	return all.verdicts[test], all.texts[test], err
}

func (l *lab) runOnce(ctx context.Context, s *suite, m mode, tests []string, limit time.Duration, into *results) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.binary, "-test.v=test2json", "-test.run="+pattern(tests), "-test.timeout="+limit.String())
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &out
	cmd.WaitDelay = 10 * time.Second // for what a test left behind with the streams
	cmd.Env = append(l.environment(m), "PWD="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if m.user == "nobody" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.uid)}
		if l.cgroup != nil {
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(l.cgroup.Fd())
		}
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	into.read(out.String(), tests)
	return nil
}

func (l *lab) environment(m mode) []string {
	tmp := filepath.Join(l.dir, "tmp-"+m.user)
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return m.user == "nobody" && (strings.HasPrefix(kv, "HOME=") || strings.HasPrefix(kv, "PATH=") || strings.HasPrefix(kv, "XDG_"))
	})
	if m.user == "nobody" { // without go: root's build cache is closed to others
		env = append(env, "HOME="+tmp, "PATH=/usr/local/bin:/usr/bin:/bin", "GOCACHE=off")
	}
	env = append(env, "GOROOT="+l.goroot, "GOTOOLCHAIN=local", "GOFLAGS=", "TMPDIR="+tmp, "GOTMPDIR="+tmp, "GO_TEST_TIMEOUT_SCALE=4")
	if !m.plain() {
		env = append(env, "CONTAIN_GOTESTS_MODE="+strings.Join([]string{"linux/" + m.strategy, m.how, m.exit}, " "),
			"CONTAIN_GOTESTS_COUNT="+l.counter, "CONTAIN_GOTESTS_DRIVER="+strconv.Itoa(os.Getpid()))
	}
	return env
}

// pattern is the -test.run of tests, or of one subtest.
func pattern(tests []string) string {
	if len(tests) == 1 {
		parts := strings.Split(tests[0], "/")
		for i, p := range parts {
			parts[i] = "^" + regexp.QuoteMeta(p) + "$"
		}
		return strings.Join(parts, "/")
	}
	return "^(" + strings.Join(tests, "|") + ")$"
}

// marker begins each line of the framework's own in -test.v=test2json.
const marker = "\x16"

var (
	verdictLine = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(`)
	nameLine    = regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)\n`)
)

// read enters what a test binary has printed.
func (r *results) read(out string, tests []string) {
	current := tests[0]
	parts := strings.Split(out, marker)
	for _, part := range parts {
		if v := verdictLine.FindStringSubmatch(part); v != nil {
			r.verdicts[v[2]] = verdict(v[1])
			current = v[2]
		} else if n := nameLine.FindStringSubmatch(part); n != nil {
			current = n[1]
		}
		if _, text, ok := strings.Cut(part, "\n"); ok && text != "" {
			r.texts[current] += text
		}
	}
}

// differing returns the tests that pass plainly and not contained: of a test and
// its subtests those furthest down.
func differing(plain, contained *results) []string {
	differs := func(t string) bool { return plain.verdicts[t] == passed && contained.verdicts[t] != passed }
	var all []string
	for t := range plain.verdicts {
		if differs(t) && (contained.verdicts[t] != "" || !above(t, differs)) {
			all = append(all, t)
		}
	}
	for t, v := range contained.verdicts { // a subtest that there is only when contained
		if v == failed && plain.verdicts[t] == "" && above(t, differs) {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Clone(all), func(t string) bool {
		return slices.ContainsFunc(all, func(o string) bool { return strings.HasPrefix(o, t+"/") })
	})
}

// above reports whether is holds for a test that t is a subtest of.
func above(t string, is func(string) bool) bool {
	for i := range t {
		if t[i] == '/' && is(t[:i]) {
			return true
		}
	}
	return false
}

// named returns the tests that ended so.
func (r *results) named(v verdict) []string {
	var names []string
	for t, w := range r.verdicts {
		if w == v {
			names = append(names, t)
		}
	}
	slices.Sort(names)
	return names
}

// count returns how many tests ended so.
func (r *results) count(v verdict) int { return len(r.named(v)) }
