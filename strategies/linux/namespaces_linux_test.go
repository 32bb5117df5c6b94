package linux

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// TestNamespacesAreInForce: a namespace that SysProcAttr asks for is the one that
// the command is in, and no other is new, or the start is refused. What shows is
// what /proc says of the command, not what was passed on.
func TestNamespacesAreInForce(t *testing.T) {
	asRoot(t)
	// Of a PID namespace, the one that unshare(2) makes is for children only.
	kinds := map[string]uintptr{
		"cgroup": unix.CLONE_NEWCGROUP, "ipc": unix.CLONE_NEWIPC, "mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET,
		"pid": unix.CLONE_NEWPID, "time": unix.CLONE_NEWTIME, "uts": unix.CLONE_NEWUTS,
	}
	for kind := range kinds {
		if _, err := os.Stat("/proc/self/ns/" + kind); err != nil {
			delete(kinds, kind) // not in this kernel
		}
	}
	for _, s := range working(t) {
		name := s.Describe().Name
		i := install(t, s)
		control := namespaces(t, i, nil)
		for kind, flag := range kinds {
			for way, a := range map[string]*syscall.SysProcAttr{"Cloneflags": {Cloneflags: flag}, "Unshareflags": {Unshareflags: flag}} {
				got := namespaces(t, i, a)
				byClone3 := s == Cgroup()
				if kind == "time" && way == "Cloneflags" && !byClone3 {
					if got != nil {
						t.Errorf("%s, %s, %s: not refused", name, way, kind)
					}
					continue
				}
				if got == nil {
					t.Errorf("%s, %s, %s: refused", name, way, kind)
					continue
				}
				for k := range kinds {
					if s == Pidns() && (k == "pid" || k == "mnt") { // new each time
						continue
					}
					want := k == kind && (kind != "pid" || way == "Cloneflags")
					if fresh := got[k] != control[k]; fresh != want {
						t.Errorf("%s, %s, %s: the command's %s namespace is new: %v, want %v", name, way, kind, k, fresh, want)
					}
				}
			}
		}
	}
}

// namespaces returns those of a command that is started with a, nil if that is refused.
func namespaces(t *testing.T, i registry.Installation, a *syscall.SysProcAttr) map[string]string {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = a
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if errors.Is(err, registry.ErrNotPassed) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/ns/*", p.PID()))
	if err != nil || len(links) == 0 {
		t.Fatalf("nothing is known of %d: %v", p.PID(), err)
	}
	for _, link := range links {
		if strings.HasSuffix(link, "_for_children") { // there is none until the first child
			continue
		}
		if found[filepath.Base(link)], err = os.Readlink(link); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return found
}
