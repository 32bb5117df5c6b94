package containment_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/noop"
)

// changing is a third party's installation, which changes commands to start them.
type changing struct {
	registry.Installation
	fails error
}

type changer struct {
	registrytest.Fake
	fails error
}

func (r *changer) Install(ctx context.Context, opts registry.InstallOptions) (registry.Installation, error) {
	in, err := r.Fake.Install(ctx, opts)
	return changing{in, r.fails}, err
}

func (r changing) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	cmd.Args = append([]string{"changed"}, cmd.Args...)
	cmd.Dir, cmd.Env = ".", append(cmd.Environ(), "CHANGED=1")
	cmd.ExtraFiles, cmd.SysProcAttr = nil, new(syscall.SysProcAttr)
	if r.fails != nil {
		cmd.Err = r.fails
		return nil, r.fails
	}
	return r.Installation.Start(cmd, opts)
}

// TestRefusedStartClosesPipes: whoever reads from cmd.StdoutPipe after a start that
// failed gets an error at once, under every strategy and whatever failed.
func TestRefusedStartClosesPipes(t *testing.T) {
	boom := errors.New("boom")
	closed := containment.New(using(new(registrytest.Fake)))
	if err := errors.Join(closed.Install(t.Context()), closed.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	missing := error(fs.ErrNotExist)
	if runtime.GOOS == "windows" { // where a path, too, is looked up
		missing = exec.ErrNotFound
	}
	plain := using(noop.New())
	plain.Strategy = noop.Name
	for _, tt := range []struct {
		what string
		c    *containment.Containment
		cmd  *exec.Cmd
		opts []containment.StartOption
		is   error
	}{
		{"not in force", containment.New(using(new(registrytest.Fake))), command(t, "exit-0"), nil, containment.ErrNotInstalled},
		{"closed", closed, command(t, "exit-0"), nil, registry.ErrClosed},
		{"the strategy refuses", install(t, using(&registrytest.Fake{StartErr: boom})), command(t, "exit-0"), nil, boom},
		{"the strategy refuses, and has set cmd.Err", install(t, using(&changer{fails: boom})), command(t, "exit-0"), nil, boom},
		{"noop refuses", install(t, plain), command(t, "exit-0"), []containment.StartOption{containment.Breakaway()}, errors.ErrUnsupported},
		{"no such option", install(t, plain), command(t, "exit-0"), []containment.StartOption{containment.OnLeaderExit(9)}, nil},
		{"no such file", install(t, plain), exec.Command("/no/such/file"), nil, missing},
		{"not found", install(t, plain), exec.Command("contain-test-no-such-command"), nil, exec.ErrNotFound},
	} {
		t.Run(tt.what, func(t *testing.T) {
			in, err := tt.cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := tt.cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tt.c.Start(tt.cmd, tt.opts...); err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("Start: %v", err)
			}
			read := make(chan error, 1)
			go func() {
				_, err := out.Read(make([]byte, 1))
				read <- err
			}()
			select {
			case err := <-read:
				if !errors.Is(err, fs.ErrClosed) {
					t.Errorf("read from StdoutPipe: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("a read from StdoutPipe blocks")
			}
			if _, err := io.WriteString(in, "x"); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("write to StdinPipe: %v", err)
			}
		})
	}
}

// TestStartTwiceLeavesPipesOpen: the refusal is about the second start only.
func TestStartTwiceLeavesPipesOpen(t *testing.T) {
	c := install(t, using(new(registrytest.Fake)))
	cmd := command(t, "sleep")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(cmd); err == nil || err.Error() != "exec: already started" {
		t.Errorf("again: %v", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("the pipe says %q, %v", line, err)
	}
}

// TestCmdIsGivenBack: what a strategy changed of a command to start it does not show
// afterwards, whether that started or not.
func TestCmdIsGivenBack(t *testing.T) {
	for what, boom := range map[string]error{"started": nil, "refused": errors.New("boom")} {
		cmd := command(t, "exit-0")
		cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{os.Stderr}, &syscall.SysProcAttr{}
		if runtime.GOOS == "windows" {
			cmd.ExtraFiles = nil // which cannot be passed there
		}
		want := *cmd
		c := install(t, using(&changer{fails: boom}))
		if _, err := c.Start(cmd); err != boom {
			t.Fatal(err)
		}
		if cmd.Path != want.Path || !slices.Equal(cmd.Args, want.Args) || cmd.Dir != want.Dir || !slices.Equal(cmd.Env, want.Env) ||
			!reflect.DeepEqual(cmd.ExtraFiles, want.ExtraFiles) || cmd.SysProcAttr != want.SysProcAttr || cmd.Err != want.Err {
			t.Errorf("%s: %+v, was %+v", what, cmd, &want)
		}
	}
}
