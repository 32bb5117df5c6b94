package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
)

// A failure is a command whose start fails, and what the error is.
type failure struct {
	name string
	root bool
	is   error
	make func(t *testing.T) *exec.Cmd
}

func with(a *syscall.SysProcAttr) func(*testing.T) *exec.Cmd {
	return func(*testing.T) *exec.Cmd {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = a
		return cmd
	}
}

func at(path string) func(*testing.T) *exec.Cmd {
	return func(*testing.T) *exec.Cmd { return exec.Command(path) }
}

// in returns a command whose Dir is what a test prepares.
func in(a *syscall.SysProcAttr, dir string) func(*testing.T) *exec.Cmd {
	return func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "/bin/true", Dir: dir, SysProcAttr: a}
	}
}

func fileWith(mode os.FileMode, text string) func(*testing.T) *exec.Cmd {
	return func(t *testing.T) *exec.Cmd {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return exec.Command(path)
	}
}

var failures = []failure{
	{"missing", false, fs.ErrNotExist, at("/no/such/program")},
	{"missing, by name", false, exec.ErrNotFound, at("no-such-program")},
	{"missing, with SysProcAttr", false, fs.ErrNotExist, func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "/no/such/program", SysProcAttr: &syscall.SysProcAttr{}}
	}},
	{"missing, with Credential", true, fs.ErrNotExist, func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "/no/such/program", SysProcAttr: &syscall.SysProcAttr{Credential: nobody}}
	}},
	{"no path", false, nil, func(*testing.T) *exec.Cmd { return &exec.Cmd{} }},
	{"a directory", false, fs.ErrPermission, at("/usr")},
	{"below a file", false, unix.ENOTDIR, at("/etc/passwd/x")},
	{"not executable", false, fs.ErrPermission, fileWith(0o644, "#!/bin/sh\n")},
	{"no format", false, unix.ENOEXEC, fileWith(0o755, "echo no interpreter\n")},
	{"empty", false, unix.ENOEXEC, fileWith(0o755, "")},
	{"missing interpreter", false, fs.ErrNotExist, fileWith(0o755, "#!/no/such/interpreter\n")},
	{"a loop of links", false, unix.ELOOP, func(t *testing.T) *exec.Cmd {
		path := filepath.Join(t.TempDir(), "loop")
		if err := os.Symlink(path, path); err != nil {
			t.Fatal(err)
		}
		return exec.Command(path)
	}},
	{"name too long", false, unix.ENAMETOOLONG, at("/" + strings.Repeat("x", 5000))},
	{"arguments too long", false, unix.E2BIG, func(*testing.T) *exec.Cmd {
		return exec.Command("/bin/true", strings.Repeat("x", 1<<20))
	}},
	{"missing Dir", false, fs.ErrNotExist, in(nil, "/no/such/dir")},
	{"missing Dir, with SysProcAttr", false, fs.ErrNotExist, in(&syscall.SysProcAttr{}, "/no/such/dir")},
	{"Dir is a file", false, unix.ENOTDIR, in(nil, "/etc/passwd")},
	{"relative path in a missing Dir", false, fs.ErrNotExist, func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "./true", Dir: "/no/such/dir", SysProcAttr: &syscall.SysProcAttr{}}
	}},
	{"NUL in Path", false, unix.EINVAL, func(*testing.T) *exec.Cmd { return &exec.Cmd{Path: "/bin/true\x00"} }},
	{"NUL in Args", false, unix.EINVAL, func(*testing.T) *exec.Cmd { return exec.Command("/bin/true", "a\x00b") }},
	{"NUL in Dir, with SysProcAttr", false, nil, in(&syscall.SysProcAttr{}, "/\x00")},
	{"NUL in Env", false, nil, func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "/bin/true", Env: []string{"A=1", "B=\x00"}}
	}},
	{"NUL in Chroot", false, unix.EINVAL, with(&syscall.SysProcAttr{Chroot: "/\x00"})},
	{"missing Chroot", true, fs.ErrNotExist, with(&syscall.SysProcAttr{Chroot: "/no/such/root"})},
	{"a group that is not there", false, fs.ErrPermission, with(&syscall.SysProcAttr{Setpgid: true, Pgid: 1})},
	{"Ctty of Foreground not open", false, unix.EBADF, with(&syscall.SysProcAttr{Foreground: true, Ctty: 12345})},
	{"bad CgroupFD", false, unix.EBADF, with(&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: 12345})},
	{"context done", false, context.Canceled, func(*testing.T) *exec.Cmd {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return exec.CommandContext(ctx, "/bin/true")
	}},
	{"Cancel without context", false, nil, func(*testing.T) *exec.Cmd {
		return &exec.Cmd{Path: "/bin/true", Cancel: func() error { return nil }}
	}},
	{"Stdout set twice", false, nil, func(*testing.T) *exec.Cmd {
		cmd := exec.Command("/no/such/program")
		cmd.Stdout = io.Discard
		_, cmd.Err = cmd.StdoutPipe()
		return cmd
	}},
}

// chain is what errors.Is and errors.As see of an error, layer by layer.
func chain(err error) string {
	var b strings.Builder
	for ; err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(&b, "%T %q\n", err, err)
		if e, ok := err.(*fs.PathError); ok {
			fmt.Fprintf(&b, "%q %q\n", e.Op, e.Path)
		}
	}
	return normalDir.Replace(b.String())
}

// The directories of two runs of a test differ by a number.
var normalDir = strings.NewReplacer("/001/", "/n/", "/002/", "/n/", "/003/", "/n/", "/004/", "/n/")

func TestStartErrors(t *testing.T) {
	for _, s := range passing {
		i := install(t, s)
		for _, f := range failures {
			t.Run(s.Describe().Name+"/"+f.name, func(t *testing.T) {
				if f.root {
					asRoot(t)
				}
				a, b := f.make(t), f.make(t)
				want := plain(a)
				_, got := registry.Start(i, b, registry.StartOptions{})
				if chain(want) != chain(got) {
					t.Errorf("plain:\n%scontained:\n%s", chain(want), chain(got))
				}
				if got == nil || f.is != nil && !errors.Is(got, f.is) {
					t.Errorf("%v is not %v", got, f.is)
				}
				if b.Process != nil || b.ProcessState != nil {
					t.Error("Process is set")
				}
			})
		}
	}
}

func TestAlreadyStarted(t *testing.T) {
	i := install(t, Subreaper())
	cmd := exec.Command("/bin/true")
	if _, err := registry.Start(i, cmd, registry.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Start(i, cmd, registry.StartOptions{}); err == nil || err.Error() != "exec: already started" {
		t.Errorf("a second start: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A start that fails leaves neither a descriptor nor a process behind, whatever
// the command's streams are.
func TestFailedStartsLeaveNothing(t *testing.T) {
	notShort(t)
	blocks, unblock := io.Pipe()
	defer unblock.Close()
	for _, s := range passing {
		i := install(t, s)
		for name, connect := range map[string]func(*exec.Cmd) error{
			"none":            func(*exec.Cmd) error { return nil },
			"buffers":         func(cmd *exec.Cmd) error { cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer); return nil },
			"a stdin blocked": func(cmd *exec.Cmd) error { cmd.Stdin = blocks; return nil },
			"pipes": func(cmd *exec.Cmd) error {
				_, err1 := cmd.StdinPipe()
				_, err2 := cmd.StdoutPipe()
				_, err3 := cmd.StderrPipe()
				return errors.Join(err1, err2, err3)
			},
		} {
			t.Run(s.Describe().Name+"/"+name, func(t *testing.T) {
				before := len(descriptors(os.Getpid()))
				for n := range 5 * len(failures) {
					f := failures[n%len(failures)]
					cmd := f.make(t)
					if cmd.Stdin != nil || connect(cmd) != nil {
						continue
					}
					if _, err := registry.Start(i, cmd, registry.StartOptions{}); err == nil {
						_ = cmd.Wait()
					}
				}
				eventually(t, "the descriptors are as before", func() bool { return len(descriptors(os.Getpid())) <= before })
				noSupervisors(t)
				if left, err := proctree.Descendants(os.Getpid()); err != nil || len(left) != 0 {
					t.Errorf("left: %v (%v)", left, err)
				}
			})
		}
	}
}
