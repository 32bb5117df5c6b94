package linux

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

func init() { Roles["scored-service"] = scoredServiceRole }

// When memory runs out the kernel ends a supervisor after all others, as far as that is
// allowed, however easily its service is to be ended; the command keeps the service's score.
func TestSupervisorOutlivesMemory(t *testing.T) {
	for world, want := range map[string]string{"": "-1000", "nobody": "0"} {
		if world == "" && !capable(unix.CAP_SYS_RESOURCE) {
			continue
		}
		if os.Geteuid() != 0 {
			world = "" // this is somebody like nobody
		}
		got := strings.Fields(played(t, role("scored-service", worldEnv+"="+world)))
		if len(got) != 2 || got[0] != want || got[1] != "700" {
			t.Errorf("as %q: scores of supervisor and command are %q, want %s and 700", world, got, want)
		}
	}
}

// scoredServiceRole raises its score, starts a backend, and says the supervisor's and the
// backend's when the former has changed or will not.
func scoredServiceRole() {
	worlds[os.Getenv(worldEnv)]()
	score := func(pid int) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		must(err)
		return strings.TrimSpace(string(b))
	}
	must(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) // or its files would be root's
	must(os.WriteFile("/proc/self/oom_score_adj", []byte("700"), 0))
	i, err := Subreaper().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	must(err)
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = "/"
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	must(err)
	pid := p.(*tree).supervisor.PID
	for end := time.Now().Add(deadline); score(pid) == "700" && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	say("%s %s", score(pid), score(p.PID()))
	must(i.Close(context.Background()))
	_ = cmd.Wait()
}
