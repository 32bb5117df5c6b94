package linux

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

func init() { Roles["waiting-owner"] = waitingOwnerRole }

// waitingOwnerRole is a service whose backend's leader has exited and left a daemon,
// which may live for as long as the service does.
func waitingOwnerRole() {
	unix.CloseOnExec(3)
	cmd := exec.Command("sh", "-c", `setsid sh -c 'trap "" TERM HUP; echo daemon >&3; exec sleep 1000' & exit 0`)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	if s := byName(os.Getenv(strategyEnv)); s == nil {
		must(cmd.Start())
	} else {
		i, err := s.Install(context.Background(), registry.InstallOptions{})
		must(err)
		_, err = registry.Start(i, cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
		must(err)
	}
	must(cmd.Wait())
	_ = unix.Close(3)
	say("over")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// TestOwnerEndsWhatWaits: what a leader has left under LeaderExitWait ends with the owner.
func TestOwnerEndsWhatWaits(t *testing.T) {
	for _, name := range []string{SubreaperName, CgroupName, "plain"} {
		t.Run(name, func(t *testing.T) {
			if s := byName(name); s != nil {
				if err := registry.Probe(t.Context(), s); err != nil {
					t.Skip(err)
				}
			}
			l := newLiveness(t)
			s := startService(t, l.carry(role("waiting-owner", strategyEnv+"="+name)))
			l.let()
			if said := s.hear(); said != "over" {
				t.Fatal(said)
			}
			l.expect("daemon")
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			if name != "plain" {
				l.wantGone()
			} else if len(l.holders()) == 0 {
				t.Error("a daemon that nothing contains has ended with its service: it proves nothing")
			}
		})
	}
}
