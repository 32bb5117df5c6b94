package registry_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// rewriting is an installation that changes a command to start it, and then fails.
type rewriting struct {
	registry.Installation
	err   error
	calls int
}

func (r *rewriting) Start(cmd *exec.Cmd, _ registry.StartOptions) (registry.Process, error) {
	r.calls++
	cmd.Path, cmd.Args, cmd.Dir, cmd.Env = "/else", []string{"else"}, "/", []string{"A=1"}
	cmd.ExtraFiles, cmd.Err = []*os.File{os.Stdin}, errors.New("not this one")
	return nil, r.err
}

func TestStart(t *testing.T) {
	t.Parallel()
	own := errors.New("the command's own error")
	failed := errors.New("the strategy's")
	for name, c := range map[string]struct {
		cmd   *exec.Cmd
		want  error
		text  string
		calls int
	}{
		"nil":     {want: nil, text: "the command is nil"},
		"no path": {cmd: &exec.Cmd{}, text: "exec: no command"},
		"Err":     {cmd: &exec.Cmd{Path: "/x", Err: own}, want: own, text: own.Error()},
		"started": {cmd: &exec.Cmd{Path: "/x", Process: new(os.Process)}, text: "exec: already started"},
		"fails":   {cmd: &exec.Cmd{Path: "/x", Args: []string{"x", "y"}}, want: failed, text: failed.Error(), calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before exec.Cmd
			var pipe io.ReadCloser
			if c.cmd != nil {
				if c.cmd.Process == nil {
					var err error
					if pipe, err = c.cmd.StdoutPipe(); err != nil {
						t.Fatal(err)
					}
				}
				before = *c.cmd
			}
			in := &rewriting{err: failed}
			p, err := registry.Start(in, c.cmd, registry.StartOptions{})
			if p != nil || err == nil || err.Error() != c.text || c.want != nil && !errors.Is(err, c.want) || in.calls != c.calls {
				t.Fatalf("got %v, %v after %d calls", p, err, in.calls)
			}
			if c.cmd == nil {
				return
			}
			for field, pair := range map[string][2]any{
				"Path": {before.Path, c.cmd.Path}, "Args": {before.Args, c.cmd.Args}, "Env": {before.Env, c.cmd.Env}, "Dir": {before.Dir, c.cmd.Dir},
				"ExtraFiles": {before.ExtraFiles, c.cmd.ExtraFiles}, "Err": {before.Err, c.cmd.Err},
			} {
				if !reflect.DeepEqual(pair[0], pair[1]) {
					t.Errorf("%s is %v, was %v", field, pair[1], pair[0])
				}
			}
			if pipe == nil {
				return
			}
			if again := registry.Refuse(c.cmd, failed); again == nil || again.Error() != "exec: already started" {
				t.Errorf("the second start: %v", again)
			}
			if _, err := pipe.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the pipe is open: %v", err)
			}
		})
	}
}

// The pipes of a command that runs are its reader's.
func TestRefuseRunning(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	cmd := &exec.Cmd{Path: "/x", Process: new(os.Process), Stdin: r}
	want := errors.New("no")
	if err := registry.Refuse(cmd, want); err != want || cmd.Err != nil {
		t.Errorf("got %v, cmd.Err is %v", err, cmd.Err)
	}
}
