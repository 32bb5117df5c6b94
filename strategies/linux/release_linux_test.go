package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/seed329817d7/contain/registry"
)

func init() { Roles["releaser"] = releaserRole }

const releaseEnv = "CONTAIN_TEST_RELEASE"

// releaserRole is a service that starts a tree, lets go of it if it is told to, and lives
// until it is killed.
func releaserRole() {
	i, err := Subreaper().Install(context.Background(), registry.InstallOptions{OutliveParent: true})
	must(err)
	cmd := exec.Command("sh", "-c", treeScript)
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "liveness")}
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	must(err)
	if release, _ := strconv.ParseBool(os.Getenv(releaseEnv)); release {
		must(p.(registry.Releaser).Release(context.Background()))
	}
	say("up")
	time.Sleep(time.Hour)
}

// TestReleaseOutlivesOwner: what was let go lives on when its owner is SIGKILLed. Without
// that it does not: the control.
func TestReleaseOutlivesOwner(t *testing.T) {
	for _, release := range []bool{true, false} {
		t.Run(strconv.FormatBool(release), func(t *testing.T) {
			l := newLiveness(t)
			owner := l.carry(role("releaser", releaseEnv+"="+strconv.FormatBool(release)))
			out, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			l.let()
			l.expect(treeLines...)
			if _, err := out.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			_ = owner.Process.Kill()
			_ = owner.Wait()
			if !release {
				l.wantGone()
				return
			}
			before := len(l.holders())
			time.Sleep(200 * time.Millisecond) // the control needs a few milliseconds
			if after := len(l.holders()); before == 0 || after < before {
				t.Errorf("of %d processes %d live", before, after)
			}
		})
	}
}

// TestReleaseOutlivesClose: what was let go is nobody's backend, and yet ends with its proxy.
func TestReleaseOutlivesClose(t *testing.T) {
	i := install(t, Subreaper())
	l := newLiveness(t)
	cmd := l.tree()
	p, err := registry.Start(i, cmd, registry.StartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.let()
	l.expect(treeLines...)
	r := p.(registry.Releaser)
	if r.Released() {
		t.Error("released before it was")
	}
	if err := r.Release(t.Context()); err != nil || !r.Released() {
		t.Fatalf("Release: %v, %v", err, r.Released())
	}
	select {
	case <-p.Done():
	default:
		t.Error("Done is open after Release")
	}
	if err := r.Release(t.Context()); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("the second Release: %v", err)
	}
	if err := i.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(l.holders()); n == 0 {
		t.Error("Close has ended what was let go")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	l.wantGone()
}

// TestReleaseRefused: what the kernel ends with its owner cannot be let go, and an ended
// backend is not.
func TestReleaseRefused(t *testing.T) {
	for _, s := range []registry.Strategy{Pidns(), Subreaper()} {
		if err := registry.Probe(t.Context(), s); err != nil {
			t.Log(err) // a kernel or a container without user namespaces
			continue
		}
		i := install(t, s)
		cmd := exec.Command("sleep", "1000")
		p, err := registry.Start(i, cmd, registry.StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := errors.ErrUnsupported
		if s == Subreaper() {
			want = os.ErrProcessDone
			_ = p.Kill()
			<-p.Done()
		}
		r := p.(registry.Releaser)
		if err := r.Release(t.Context()); !errors.Is(err, want) || r.Released() {
			t.Errorf("%s: %v, released %v", s.Describe().Name, err, r.Released())
		}
		_ = p.Kill()
		_ = cmd.Wait()
	}
}
