package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
	_ "github.com/seed329817d7/contain/strategies/all"
)

// A prove that is tested starts this executable again, under no name that
// testscript knows.
func init() { drill.Main() }

// part is what this executable, started again by a test, does in place of the tests.
var part func()

func TestMain(m *testing.M) {
	if part != nil {
		part()
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"contain": Main, "testcmd": testcmd})
}

// TestScript runs testdata/script. Scripts that run commands work with any
// strategy, and are skipped ([!contained]) where none gives the default minimum.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// A race-instrumented process else sleeps a second before it exits.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "contained" {
				_, err := registry.Default().Resolve(context.Background(), registry.CurrentPlatform(), registry.Wanted{})
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"oneline": cmdOneLine,
			"columns": cmdColumns,
		},
	})
}

// cmdExits: exits CODE COMMAND [ARG]... runs a command that must end with CODE.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG]...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// cmdOneLine: oneline FILE asserts that FILE is one line that begins with "contain: ".
func cmdOneLine(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "contain: ") || strings.HasPrefix(text, "contain: contain:") {
		ts.Fatalf("%s is not one line that begins with \"contain: \" once: %q", args[0], text)
	}
}

// cmdColumns: columns N FILE asserts that no line of FILE is longer than N characters.
func cmdColumns(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := strconv.Atoi(args[0])
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > limit {
			ts.Fatalf("%d columns: %q", n, line)
		}
	}
}

// testcmd is a command for contain to run, the same on every platform.
func testcmd() {
	switch args := os.Args[1:]; args[0] {
	case "exit":
		code, _ := strconv.ParseUint(args[1], 10, 32)
		os.Exit(int(code))
	case "args":
		fmt.Printf("%q\n", args[1:])
	case "cat":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "stderr":
		fmt.Fprintln(os.Stderr, args[1])
	case "env":
		fmt.Println(os.Getenv(args[1]))
	case "environ":
		for _, entry := range os.Environ() {
			if strings.HasPrefix(entry, args[1]) {
				fmt.Println(entry)
			}
		}
	case "list":
		entries, _ := os.ReadDir(args[1])
		for _, e := range entries {
			fmt.Println(e.Name())
		}
	case "with": // as env(1): NAME=VALUE... COMMAND [ARG]...
		for args = args[1:]; strings.Contains(args[0], "="); args = args[1:] {
			name, value, _ := strings.Cut(args[0], "=")
			_ = os.Setenv(name, value)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		_ = cmd.Run()
		os.Exit(cmd.ProcessState.ExitCode())
	case "die":
		n, _ := strconv.Atoi(args[1])
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Signal(syscall.Signal(n))
		select {}
	}
}

// TestImports: contain run must start fast, so the command never links fx.
func TestImports(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command("go", "list", "-deps", "..").Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if strings.HasPrefix(pkg, "go.uber.org/") {
			t.Errorf("the command imports %s", pkg)
		}
	}
}
