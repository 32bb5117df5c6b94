package containment_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed329817d7/contain/registry"
	_ "github.com/seed329817d7/contain/strategies/all"
)

// TestNoInitOfTheServiceRuns: no instruction of the service's packages runs in any
// helper process, by both ways in, whatever they do when they are initialised. A helper knows
// of its children's end, whatever its service ignores.
func TestNoInitOfTheServiceRuns(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	builds := map[string]struct {
		flags []string
		cgo   string
	}{
		"first init": {nil, "0"},
		"entry":      {[]string{"-ldflags=-E=github.com/seed329817d7/contain/strategies/internal/entry.Start"}, "0"},
	}
	if _, err := exec.LookPath("gcc"); err == nil && os.Getenv("CONTAIN_FULL") != "" {
		builds["race"] = struct {
			flags []string
			cgo   string
		}{[]string{"-race"}, "1"}
	}
	for name, b := range builds {
		t.Run(name, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "host")
			build := exec.Command("go", append(append([]string{"build", "-o", bin}, b.flags...), "./testdata/hostinits")...)
			build.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			run := func(args ...string) string {
				cmd := exec.Command(bin, args...)
				cmd.Env, cmd.Dir = append(os.Environ(), "HOST=1"), t.TempDir()
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%v: %v", args, err)
				}
				return string(out)
			}
			if got := run("again", ""); !strings.Contains(got, `"banner\n" exit status 3, audit ""`) {
				t.Errorf("the control does no harm, so the rest shows nothing: %s", got)
			}
			trace := exec.Command(bin, "again", "")
			trace.Env, trace.Dir = append(os.Environ(), "HOST=1", "GODEBUG=inittrace=1"), t.TempDir()
			inits, err := trace.CombinedOutput()
			if err != nil {
				t.Error(err)
			}
			first := strings.Index(string(inits), "init github.com/seed329817d7/contain/strategies/internal/entry @")
			for _, other := range []string{"syscall", "os", "github.com/seed329817d7/contain/app/containment/testdata/hostinits/audit"} {
				if at := strings.Index(string(inits), "init "+other+" @"); first < 0 || at < first {
					t.Errorf("package %s is initialised before entry, or one of them is not:\n%s", other, inits)
				}
			}
			way := "first-init"
			if name == "entry" {
				way = name
			}
			want := "banner\nby " + way + ", logged true\nbackend \"ran\\n\" <nil>, audit \"kept\\n\"\n"
			for _, s := range registry.Default().Candidates(registry.PlatformLinux) {
				d := s.Describe()
				if err := registry.Probe(t.Context(), s); err != nil || d.Supervisor == nil {
					continue
				}
				for _, how := range []string{"start", "wrap", "ignore"} {
					if got := run(d.Name, how); got != want {
						t.Errorf("%s, %s:\n%swant\n%s", d.Name, how, got, want)
					}
				}
			}
		})
	}
}
