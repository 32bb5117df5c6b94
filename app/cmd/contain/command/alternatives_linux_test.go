package command

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
)

func init() { roles["alternative"] = alternativeOwner }

// alternativeOwner starts the tree as os.Args says, and ends its process, or lets it exit, when
// it is told to.
func alternativeOwner() {
	name, args := os.Args[1], os.Args[2:]
	runtime.LockOSThread() // for Pdeathsig, as one has to know
	cmd := exec.Command(args[0], args[1:]...)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	in, err := cmd.StdinPipe()
	start := cmd.Start
	kill := func() error { return cmd.Process.Kill() }
	after := func() {}
	switch {
	case strings.Contains(name, "Pdeathsig"):
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	case strings.Contains(name, "Setpgid"):
		cmd.SysProcAttr.Setpgid = true
		kill = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		after = func() { _ = kill() }
	case strings.Contains(name, "in the service"):
		var c *containment.Containment
		if err == nil {
			c, err = containment.Install(context.Background(), containment.Config{OutliveParent: true})
		}
		start = func() error { _, err := c.Start(cmd); return err }
	}
	if err == nil {
		err = start()
	}
	fmt.Println("started", err)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "kill":
			err = kill()
		case "exit":
			_, err = in.Write([]byte("\n"))
		}
		_ = cmd.Wait()
		if lines.Text() == "exit" { // after a kill the number of an empty group may be another's
			after()
		}
		fmt.Println("over", err)
	}
}

// TestAlternatives: what is said in README of each is so. Those that do not work here are
// skipped.
func TestAlternatives(t *testing.T) {
	t.Parallel()
	s := &setting{t: t, bin: containBinary(t), strategy: "default"}
	const tree = `(setsid sh -c 'echo daemon >&3; exec sleep 1000' <&- &); sleep 1000 <&- & echo ready >&3; read line || exec sleep 1000`
	for _, a := range alternatives {
		command := []string{"/bin/sh", "-c", tree}
		if a.launcher != nil {
			launcher := slices.Clone(a.launcher)
			if launcher[0] == "contain" {
				launcher[0] = s.bin
			} else if out, err := exec.Command(launcher[0], append(launcher[1:], "true")...).CombinedOutput(); err != nil {
				t.Logf("%s does not work here, or is not installed: %v %s", launcher[0], err, out)
				continue
			}
			command = append(launcher, command...)
		}
		for event, want := range map[string]int{"owner killed": a.ownerKilled, "kill": a.processKilled, "exit": a.commandExits} {
			t.Run(a.name+"/"+event, func(t *testing.T) {
				t.Parallel()
				live := newLiveness(t)
				owner := start(t, live.carry(s.role("alternative", append([]string{a.name}, command...)...)))
				defer func() {
					owner.kill()
					live.w.Close()
					live.end()
					live.r.Close()
				}()
				owner.expect("started <nil>")
				live.expectAll("ready", "daemon")
				if event == "owner killed" {
					owner.kill()
				} else {
					if _, err := fmt.Fprintln(owner.in, event); err != nil {
						t.Fatal(err)
					}
					owner.expect("over <nil>")
				}
				var left int
				look := func() bool {
					pids := slices.DeleteFunc(live.holders(), func(pid int) bool { return pid == owner.cmd.Process.Pid })
					left = len(pids)
					return left == want
				}
				for end := time.Now().Add(deadline); !look() && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				if want > 0 { // and they stay
					time.Sleep(within / 10)
					look()
				}
				if left != want {
					t.Errorf("%d processes live on, want %d", left, want)
				}
			})
		}
	}
}

// kill ends the owner, and waits for its end.
func (p *session) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
