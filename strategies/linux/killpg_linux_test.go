package linux

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

func init() { Roles["killpg-service"] = killpgServiceRole }

// killpgAttrs are the ways in which services put a command into a process group.
var killpgAttrs = map[string]*syscall.SysProcAttr{
	"neither": nil,
	"Setpgid": {Setpgid: true},
	"Setsid":  {Setsid: true},
}

// killpgServiceRole starts a tree and, when told to, kills the group of cmd.Process, as
// services do that want the children, too. It says so if it is alive afterwards.
func killpgServiceRole() {
	unix.CloseOnExec(3)
	start := starterOf(os.Getenv("STRATEGY"), registry.InstallOptions{OutliveParent: true})
	held := os.NewFile(3, "liveness")
	cmd := exec.Command("sh", "-c", treeScript)
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{held}, killpgAttrs[os.Getenv("ATTR")]
	must(start(cmd))
	held.Close()
	say("started")
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	group, err := unix.Getpgid(cmd.Process.Pid)
	must(err)
	must(unix.Kill(-group, unix.SIGKILL))
	_ = cmd.Wait()
	say("alive")
	in.Scan() // the end
}

// TestKillpg: kill(-getpgid(cmd.Process.Pid)), by a service that knows nothing of proxies,
// ends the whole tree and leaves the service alone, whichever group it asked for. Where
// cmd.Process is the leader itself and no group was asked for, the group is the service's own.
func TestKillpg(t *testing.T) {
	names := []string{"plain"}
	for _, s := range working(t) {
		if s != Pdeathsig() {
			names = append(names, s.Describe().Name)
		}
	}
	for _, name := range names {
		for attr := range killpgAttrs {
			t.Run(strings.ReplaceAll(name, "/", "-")+"/"+attr, func(t *testing.T) {
				l := newLiveness(t)
				cmd := l.carry(role("killpg-service", "STRATEGY="+name, "ATTR="+attr))
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // else this process is in the group
				s := startService(t, cmd)
				l.let()
				if got := s.hear(); got != "started" {
					t.Fatal(got)
				}
				l.expect(treeLines...)
				s.tell("kill")
				if leader := name == "plain" || name == CgroupName; leader && attr == "neither" {
					if line, err := s.out.ReadString('\n'); err == nil {
						t.Errorf("the service, which has killed its own group, said %q", line)
					}
				} else if got := s.hear(); got != "alive" {
					t.Errorf("the service said %q", got)
				}
				if name == "plain" {
					if len(l.holders()) == 0 {
						t.Error("nothing survived, so the rest shows nothing")
					}
					return
				}
				l.wantGone()
			})
		}
	}
}
