//go:build linux

// Gotests runs the tests of os/exec, syscall and os that start processes, as the
// installed Go has them, with every command contained. See .ci/gotests.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// packages are those whose tests are run.
var packages = []string{"os/exec", "syscall", "os"}

//go:embed hook.go.txt
var hook string

const tableFile = ".ci/lib/gotests/expected.txt"

// quick are the modes that are run unless others are asked for: each strategy,
// user, way to start and leader exit at least once.
var quick = []string{
	"cgroup start kill root",
	"cgroup start leave nobody",
	"cgroup wrap kill root",
	"subreaper start kill root",
	"subreaper start wait root",
	"subreaper start kill nobody",
	"subreaper wrap kill root",
	"subreaper wrap leave nobody",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ok, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotests:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	modes   []mode
	run     *regexp.Regexp
	verbose bool
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("gotests", flag.ContinueOnError)
	all := flags.Bool("all", false, "every mode")
	run := flags.String("run", "", "only the tests (PACKAGE.TEST) that match this `REGEXP`")
	flags.BoolVar(&o.verbose, "v", false, "show what tests print that fail as expected")
	flags.Func("mode", "only this `MODE` (may be repeated): STRATEGY start|wrap kill|wait|leave root|nobody", func(s string) error {
		m, err := parseMode(s)
		o.modes = append(o.modes, m)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if os.Getuid() != 0 {
		return o, fmt.Errorf("run it as root: it runs tests as root and as a user without privileges")
	}
	if *all {
		for _, s := range []string{"cgroup", "subreaper"} {
			for _, how := range []string{"start", "wrap"} {
				for _, exit := range []string{"kill", "wait", "leave"} {
					for _, user := range []string{"root", "nobody"} {
						o.modes = append(o.modes, mode{s, how, exit, user})
					}
				}
			}
		}
	}
	if len(o.modes) == 0 {
		for _, s := range quick {
			m, err := parseMode(s)
			if err != nil {
				return o, err
			}
			o.modes = append(o.modes, m)
		}
	}
	var err error
	o.run, err = regexp.Compile(*run)
	return o, err
}

func run(ctx context.Context, args []string) (bool, error) {
	o, err := parseOptions(args)
	if err != nil {
		return false, err
	}
	expected, err := readTable(tableFile)
	if err != nil {
		return false, err
	}
	l, err := newLab()
	if err != nil {
		return false, err
	}
	defer l.close()
	suites, err := l.suites(o)
	if err != nil {
		return false, err
	}
	r := &runner{lab: l, o: o, table: expected, suites: suites, controls: map[string]map[string]*results{}}
	good := true
	for _, m := range o.modes {
		ok, err := r.hold(ctx, m)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m, err)
		}
		good = good && ok
	}
	return good, nil
}

func newLab() (*lab, error) {
	// Binaries that lie in GOTMPDIR are told to be of this run by whoever looks for leftovers.
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "gotests-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, goroot: filepath.Join(dir, "goroot"), counter: filepath.Join(dir, "starts"), uid: 56000 + os.Getpid()%4000}
	if err := l.prepare(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) prepare() error {
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	for _, user := range []string{"root", "nobody"} {
		tmp := filepath.Join(l.dir, "tmp-"+user)
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		if user == "nobody" {
			if err := os.Chown(tmp, l.uid, l.uid); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(l.counter, nil, 0o666); err != nil {
		return err
	}
	if err := os.Chmod(l.counter, 0o666); err != nil {
		return err
	}
	return l.delegate()
}

func (l *lab) close() {
	if l.cgroup != nil {
		l.cgroup.Close()
		removeGroup(l.cgroup.Name())
	}
	if err := os.RemoveAll(l.dir); err != nil {
		fmt.Fprintln(os.Stderr, "gotests:", err)
	}
}

func (l *lab) suites(o options) ([]*suite, error) {
	began := time.Now()
	g, err := layGoroot(l.goroot, hook)
	if err != nil {
		return nil, err
	}
	var suites []*suite
	for _, pkg := range packages {
		tests, err := g.starters(pkg)
		if err != nil {
			return nil, err
		}
		tests = slices.DeleteFunc(tests, func(t string) bool { return !o.run.MatchString(pkg + "." + t) })
		if len(tests) == 0 {
			continue
		}
		slices.Sort(tests)
		binary, err := g.build(pkg)
		if err != nil {
			return nil, err
		}
		suites = append(suites, &suite{pkg: pkg, binary: binary, dir: filepath.Join(l.goroot, "src", pkg), tests: tests})
	}
	version, err := output(exec.Command(filepath.Join(g.dir, "bin/go"), "version"))
	fmt.Printf("%s, built in %s\n", strings.TrimSpace(version), time.Since(began).Round(time.Second))
	return suites, err
}

// runner holds the modes.
type runner struct {
	lab      *lab
	o        options
	table    table
	suites   []*suite
	controls map[string]map[string]*results // by user and package
}

// control returns how a suite ends plainly.
func (r *runner) control(ctx context.Context, s *suite, m mode) (*results, error) {
	if c := r.controls[m.user][s.pkg]; c != nil {
		return c, nil
	}
	c, err := r.lab.run(ctx, s, m.control(), func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	if r.controls[m.user] == nil {
		r.controls[m.user] = map[string]*results{}
	}
	r.controls[m.user][s.pkg] = c
	if c.count(passed) == 0 {
		return nil, fmt.Errorf("no test of %s passes plainly: %v", s.pkg, c.texts)
	}
	fmt.Printf("%s: %s: %d pass, %d fail, %d skip\n", m.control(), s.pkg, c.count(passed), c.count(failed), c.count(skipped))
	if names := c.named(failed); len(names) > 0 {
		fmt.Printf("  fail plainly, and so show nothing: %s\n", strings.Join(names, ", "))
	}
	return c, nil
}

// retries is how often a test is run again that does not end as expected. It
// counts as failing if it does so twice: once may have been the machine.
const retries = 4

// fewOnce is how many tests of a mode may fail once: tests run again alone do
// not meet what several starts at once do to each other.
const fewOnce = 3

// hold runs every suite in mode m and reports whether all is as expected.
func (r *runner) hold(ctx context.Context, m mode) (bool, error) {
	if e := r.table.find(m, "*"); e != nil {
		return r.holdNothing(ctx, m, e)
	}
	began, good, expected, tests, once := time.Now(), true, 0, 0, 0
	if err := os.Truncate(r.lab.counter, 0); err != nil {
		return false, err
	}
	for _, s := range r.suites {
		plain, err := r.control(ctx, s, m)
		if err != nil {
			return false, err
		}
		before := r.lab.starts()
		contained, err := r.lab.run(ctx, s, m, func(test string) bool { return r.table.about(m, s.pkg+"."+test) })
		if err != nil {
			return false, err
		}
		if r.lab.starts() == before {
			return false, fmt.Errorf("no test of %s has started a command that was contained: the hook is not called", s.pkg)
		}
		tests += plain.count(passed)
		seen := map[*expectation]bool{}
		for _, t := range differing(plain, contained) {
			e := r.table.find(m, s.pkg+"."+t)
			if e == nil {
				ok, err := r.confirm(ctx, s, m, t, contained)
				if err != nil {
					return false, err
				}
				if good = good && ok; ok {
					once++
				}
				continue
			}
			seen[e] = true
			expected++
			if r.o.verbose {
				fmt.Printf("%s: %s.%s fails as expected (%s):\n%s", m, s.pkg, t, e.reason, beginning(contained.texts[t]))
			}
		}
		ok, err := r.stale(ctx, s, m, plain, seen)
		if err != nil {
			return false, err
		}
		good = good && ok
	}
	if once > fewOnce {
		fmt.Printf("%s: %d tests failed once each: too many for chance\n", m, once)
		good = false
	}
	fmt.Printf("%s: %d tests pass plainly, %d of them fail contained as expected; %d commands contained; %s\n",
		m, tests, expected, r.lab.starts(), time.Since(began).Round(time.Second))
	return good, nil
}

// holdNothing sees that a mode which is expected not to work still does not.
func (r *runner) holdNothing(ctx context.Context, m mode, e *expectation) (bool, error) {
	if e.sometimes {
		fmt.Printf("%s: not held: %s\n", m, e.reason)
		return true, nil
	}
	for _, s := range r.suites {
		if s.pkg != "os/exec" {
			continue
		}
		v, text, err := r.lab.again(ctx, s, m, "TestEcho")
		if err != nil {
			return false, err
		}
		if v == passed {
			fmt.Printf("%s: works, and is expected not to (%s); mend %s\n", m, e.reason, tableFile)
			return false, nil
		}
		if r.o.verbose {
			fmt.Print(text)
		}
	}
	fmt.Printf("%s: does not work, as expected: %s\n", m, e.reason)
	return true, nil
}

// confirm runs a test again that has failed unexpectedly.
func (r *runner) confirm(ctx context.Context, s *suite, m mode, test string, first *results) (bool, error) {
	failures, text := 1, first.texts[test]
	for n := 0; n < retries && failures < 2; n++ {
		v, again, err := r.lab.again(ctx, s, m, test)
		if err != nil {
			return false, err
		}
		if v != passed {
			failures++
			text = again
		}
	}
	what := "fails contained"
	if failures < 2 {
		what = "failed contained once, and then not any more"
	}
	fmt.Printf("%s: %s.%s passes plainly and %s:\n%s\n", m, s.pkg, test, what, beginning(text))
	return failures < 2, nil
}

// stale finds expectations that are not met: tests that pass although they are
// to fail.
func (r *runner) stale(ctx context.Context, s *suite, m mode, plain *results, seen map[*expectation]bool) (bool, error) {
	good := true
	for _, e := range r.table {
		test, ours := strings.CutPrefix(e.test, s.pkg+".")
		if !ours || !e.applies(m) || seen[e] || e.sometimes || plain.verdicts[test] != passed {
			continue
		}
		failed := false
		for n := 0; n < retries && !failed; n++ {
			v, _, err := r.lab.again(ctx, s, m, test)
			if err != nil {
				return false, err
			}
			failed = v != passed
		}
		if !failed {
			fmt.Printf("%s: %s passes, and is expected to fail (%s); mend %s\n", m, e.test, e.reason, tableFile)
			good = false
		}
	}
	return good, nil
}

// starts returns how many commands have been contained.
func (l *lab) starts() int64 {
	st, err := os.Stat(l.counter)
	if err != nil {
		return 0
	}
	return st.Size()
}

// beginning returns the first lines of a text: what follows are goroutines.
func beginning(text string) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[:min(len(lines), 12)], "")
}
