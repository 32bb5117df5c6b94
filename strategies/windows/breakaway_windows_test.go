package windows

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/registry"
)

// releaser is a service that starts a node, with breakaway unless envOwner says
// contained, and waits to be ended.
func releaser() {
	in := must(Job().Install(ctx(), registry.InstallOptions{}))
	cmd := role("node", envDepth+"=1")
	cmd.Stdout = os.Stdout
	p := must(registry.Start(in, cmd, registry.StartOptions{Breakaway: os.Getenv(envOwner) != "contained"}))
	bufio.NewReader(os.Stdin).ReadString('\n')
	if os.Getenv(envOwner) == "closes" {
		must(0, p.Kill())
		must(0, in.Close(ctx()))
		fmt.Println("closed", os.Getpid())
		bufio.NewReader(os.Stdin).ReadString('\n')
	}
}

// What breaks away outlives its owner, and what it starts does so too.
func TestBreakawayOutlivesOwner(t *testing.T) {
	for how, survives := range map[string]bool{"breakaway": true, "closes": true, "contained": false} {
		t.Run(how, func(t *testing.T) {
			cmd := role("releaser", envOwner+"="+how)
			stdin, stdout, started := pipes(t, cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			started()
			tree := announced(t, stdout, 2)
			if how == "closes" {
				fmt.Fprintln(stdin)
				if line, err := stdout.ReadString('\n'); !strings.HasPrefix(line, "closed") {
					t.Errorf("%q, %v", line, err)
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
			if survives {
				wantAlive(t, tree...)
			} else {
				wantGone(t, tree...)
			}
		})
	}
}

func TestBreakawayProcess(t *testing.T) {
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		cmd := role("node")
		_, stdout, started := pipes(t, cmd)
		attr := &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
		cmd.SysProcAttr = attr
		p, err := registry.Start(in, cmd, registry.StartOptions{Breakaway: true})
		started()
		if err != nil {
			t.Fatal(err)
		}
		announced(t, stdout, 1)
		wantDone(t, p)
		if cmd.SysProcAttr != attr || attr.CreationFlags != windows.CREATE_NEW_PROCESS_GROUP {
			t.Errorf("the caller's SysProcAttr was changed: %+v", cmd.SysProcAttr)
		}
		if err := p.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Signal: %v", err)
		}
		if members, err := p.Members(); p.PID() != cmd.Process.Pid || members != nil || err != nil {
			t.Errorf("PID %d, members %v, %v", p.PID(), members, err)
		}
		if err := errors.Join(p.Terminate(), p.Kill(), cmd.Process.Kill()); err != nil {
			t.Error(err)
		}
		cmd.Wait()
	})
}

// A job around the service's that does not allow breakaway: nothing runs.
func TestBreakawayRefused(t *testing.T) {
	isolated(t, func(t *testing.T) {
		enclosing := must(windows.CreateJobObject(nil, nil))
		must(0, windows.AssignProcessToJobObject(enclosing, windows.CurrentProcess()))
		in := mustInstall(t)
		cmd := role("node")
		_, stdout, started := pipes(t, cmd)
		_, err := registry.Start(in, cmd, registry.StartOptions{Breakaway: true})
		started()
		wantErrors(t, err, errors.ErrUnsupported)
		if line, err := stdout.ReadString('\n'); err == nil {
			t.Errorf("it ran: %q", line)
		}
		if cmd.Process != nil && cmd.ProcessState == nil {
			t.Error("it was not ended")
		}
	})
}

// Where the service has no job of its own, the enclosing one refuses.
func TestBreakawayRefusedAlreadyInJob(t *testing.T) {
	isolated(t, func(t *testing.T) {
		enclosing := must(windows.CreateJobObject(nil, nil))
		must(0, windows.AssignProcessToJobObject(enclosing, windows.CurrentProcess()))
		replace(t, func(*system) {})
		refuseSelf()
		in := mustInstall(t)
		_, err := registry.Start(in, role("node"), registry.StartOptions{Breakaway: true})
		wantErrors(t, err, errors.ErrUnsupported, windows.ERROR_ACCESS_DENIED)
	})
}
