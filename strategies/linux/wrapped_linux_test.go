package linux

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// wrapping returns the strategies that can wrap and work here, each installed.
func eachWrapping(t *testing.T, f func(t *testing.T, i registry.Installation, wrap func(*exec.Cmd) registry.Process)) {
	for _, s := range working(t) {
		if s == Pdeathsig() {
			continue
		}
		t.Run(s.Describe().Name, func(t *testing.T) {
			i := install(t, s)
			f(t, i, func(cmd *exec.Cmd) registry.Process {
				t.Helper()
				p, err := i.(registry.Wrapper).Wrap(cmd, registry.StartOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return p
			})
		})
	}
}

// TestWrappedIsChanged: whatever is done to a command after Wrap means what it means
// without, one row each.
func TestWrappedIsChanged(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, script string
		root         bool
		change       func(*testing.T, *exec.Cmd)
	}{
		{name: "nothing", script: "echo $0 $#"},
		{name: "append to Args", script: `echo "$@"`, change: func(_ *testing.T, c *exec.Cmd) { c.Args = append(c.Args, "zero", "one", "two") }},
		{name: "replace Args", change: func(_ *testing.T, c *exec.Cmd) { c.Args = []string{"other", "-c", "echo $0"} }},
		{name: "Args as a supervisor's", change: func(_ *testing.T, c *exec.Cmd) { c.Args = []string{entry.Argv0} }},
		{name: "append to Env", script: "echo $ADDED $HOME", change: func(_ *testing.T, c *exec.Cmd) { c.Env = append(c.Environ(), "ADDED=yes") }},
		{name: "replace Env", script: "env -0 | sort -z | tr '\\0' '\\n' | grep -v '^_='", change: func(_ *testing.T, c *exec.Cmd) { c.Env = []string{"A=1", "PATH=/bin:/usr/bin"} }},
		{name: "Env as a supervisor's", script: "echo $" + entry.FDEnv, change: func(_ *testing.T, c *exec.Cmd) { c.Env = []string{entry.FDEnv + "=3"} }},
		{name: "Dir", script: "pwd", change: func(_ *testing.T, c *exec.Cmd) { c.Dir = dir }},
		{name: "Stdin", script: "cat", change: func(_ *testing.T, c *exec.Cmd) { c.Stdin = strings.NewReader("in\n") }},
		{name: "Stderr", script: "echo err >&2", change: func(_ *testing.T, c *exec.Cmd) { c.Stderr = c.Stdout }},
		{name: "ExtraFiles", script: "cat <&3; ls /proc/self/fd | wc -l", change: func(t *testing.T, c *exec.Cmd) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			_, _ = w.WriteString("extra\n")
			w.Close()
			c.ExtraFiles = append(c.ExtraFiles, r)
		}},
		{name: "status", script: "exit 7"},
		{name: "death by a signal", script: "kill -USR1 $$"},
		{name: "Setsid", script: "ps -o tty= -p $$", change: func(_ *testing.T, c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }},
		{name: "Setsid and Setctty", script: "(: </dev/tty) && echo has a terminal; ps -o stat= -p $$ | grep -c +", change: func(t *testing.T, c *exec.Cmd) {
			c.Stdin = terminal(t) // as github.com/creack/pty does
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		}},
		{name: "Credential", script: "id -u; id -g; id -G", root: true, change: func(_ *testing.T, c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{7}}}
		}},
		{name: "Chroot", script: "ls -d /proc/self/fd; pwd", root: true, change: func(_ *testing.T, c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Chroot: "/"}
			c.Dir = "/usr"
		}},
		{name: "Pdeathsig", script: "echo fine", change: func(_ *testing.T, c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }},
		{name: "Cloneflags", script: "hostname other 2>/dev/null; hostname", root: true, change: func(_ *testing.T, c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}
		}},
	}
	run := func(t *testing.T, script string, change func(*testing.T, *exec.Cmd), wrap func(*exec.Cmd) registry.Process) string {
		cmd := exec.Command("sh", "-c", script)
		var out strings.Builder
		cmd.Stdout = &out
		if wrap != nil {
			p := wrap(cmd)
			defer func() {
				await(t, p)
				if err := p.(*tree).Contained(); err != nil {
					t.Error(err)
				}
			}()
		}
		if change != nil {
			change(t, cmd)
		}
		err := cmd.Run()
		state := ""
		if cmd.ProcessState != nil {
			state = cmd.ProcessState.String()
		} else {
			state = err.Error()
		}
		return out.String() + state
	}
	eachWrapping(t, func(t *testing.T, _ registry.Installation, wrap func(*exec.Cmd) registry.Process) {
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				if row.root {
					asRoot(t)
				}
				if row.name == "Credential" && strings.HasSuffix(t.Name(), "pidns/Credential") {
					t.Skip("groups that the user namespace does not map: a limit")
				}
				want := run(t, row.script, row.change, nil)
				if got := run(t, row.script, row.change, wrap); got != want {
					t.Errorf("plain:\n%s\nwrapped:\n%s", want, got)
				}
			})
		}
	})
}

// TestWrappedIsContained: cmd.Process.Kill, and Kill of the backend, end the whole
// tree, as the plain start's control shows that nothing else does.
func TestWrappedIsContained(t *testing.T) {
	const script = "setsid sleep 1000 & exec sleep 1000"
	t.Run("control", func(t *testing.T) {
		l := newLiveness(t)
		cmd := l.carry(exec.Command("sh", "-c", script))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		l.let()
		eventually(t, "it has two processes", func() bool { return len(l.holders()) == 2 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if len(l.holders()) == 0 {
			t.Error("nothing survived, so the test below shows nothing")
		}
	})
	eachWrapping(t, func(t *testing.T, i registry.Installation, wrap func(*exec.Cmd) registry.Process) {
		for _, how := range []string{"Process.Kill", "group", "backend", "supervisor", "close"} {
			t.Run(how, func(t *testing.T) {
				l := newLiveness(t)
				cmd := l.carry(exec.Command("sh", "-c", script))
				if how == "group" {
					cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				}
				p := wrap(cmd)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				l.let()
				eventually(t, "it has been started", func() bool { return p.PID() != 0 })
				eventually(t, "it has two processes", func() bool { ms, _ := p.Members(); return len(ms) == 2 })
				switch how {
				case "Process.Kill":
					_ = cmd.Process.Kill()
				case "group":
					group, err := unix.Getpgid(cmd.Process.Pid)
					if err != nil || group != cmd.Process.Pid {
						t.Errorf("the group of cmd.Process is %d (%v), cmd.Process %d", group, err, cmd.Process.Pid)
					}
					_ = unix.Kill(-group, unix.SIGKILL)
				case "backend":
					if err := p.Kill(); err != nil {
						t.Error(err)
					}
				case "close":
					ctx, cancel := context.WithTimeout(context.Background(), deadline)
					defer cancel()
					if err := i.Close(ctx); err != nil {
						t.Error(err)
					}
				case "supervisor":
					tr := p.(*tree)
					tr.mu.Lock()
					pid := tr.supervisor.PID
					tr.mu.Unlock()
					_ = unix.Kill(pid, unix.SIGKILL)
				}
				_ = cmd.Wait()
				await(t, p)
				l.wantGone()
			})
		}
	})
}

// TestWrappedFailsClosed: what does not find its owner runs nothing.
func TestWrappedFailsClosed(t *testing.T) {
	notShort(t)
	eachWrapping(t, func(t *testing.T, i registry.Installation, wrap func(*exec.Cmd) registry.Process) {
		exits125 := func(t *testing.T, cmd *exec.Cmd) {
			t.Helper()
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 125 || strings.Contains(string(out), "ran") {
				t.Errorf("%v, %q", err, out)
			}
		}
		t.Run("network namespace", func(t *testing.T) {
			asRoot(t)
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
			exits125(t, cmd)
			if err := p.(*tree).Contained(); err == nil || !strings.Contains(err.Error(), "network namespace") {
				t.Error(err)
			}
			_ = p.Kill()
			await(t, p)
		})
		t.Run("PID namespace", func(t *testing.T) {
			asRoot(t)
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
			exits125(t, cmd)
			_ = p.Kill()
			await(t, p)
		})
		t.Run("chroot without proc", func(t *testing.T) {
			asRoot(t)
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: t.TempDir()}
			cmd.Dir = "/"
			if err := cmd.Start(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Start: %v", err)
			}
			_ = p.Kill()
			await(t, p)
		})
		t.Run("path replaced", func(t *testing.T) {
			cmd := exec.Command("sh", "-c", "exit 3")
			p := wrap(cmd)
			cmd.Path = "/bin/true"
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
			if err := p.(*tree).Contained(); err == nil || !strings.Contains(err.Error(), `replaced by "/bin/true"`) {
				t.Errorf("Contained: %v", err)
			}
			_ = p.Kill()
			await(t, p)
		})
		t.Run("started twice", func(t *testing.T) {
			cmd := exec.Command("echo", "ran")
			wrap(cmd)
			again := &exec.Cmd{Path: cmd.Path, Args: cmd.Args}
			if out, err := cmd.Output(); err != nil || string(out) != "ran\n" {
				t.Errorf("%q, %v", out, err)
			}
			exits125(t, again)
		})
		t.Run("no such file", func(t *testing.T) {
			cmd := &exec.Cmd{Path: filepath.Join(t.TempDir(), "missing"), Args: []string{"missing"}}
			p := wrap(cmd)
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 127 {
				t.Error(err)
			}
			await(t, p)
			if err := p.(*tree).Contained(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Contained: %v", err)
			}
		})
		t.Run("a stranger asks", func(t *testing.T) {
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			number := strings.TrimPrefix(cmd.Path, entry.PathMark)
			// Not by package net: with that the tests would have a C library, which starts threads
			// by clone3 and takes EPERM for an answer, see TestCgroupRefusals.
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			c := os.NewFile(uintptr(fd), "socket")
			defer c.Close()
			limit := unix.NsecToTimeval(int64(deadline))
			must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + entry.SocketMark + strconv.Itoa(os.Getpid()) + "/" + number}); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
				t.Errorf("it was told %q, %v", b, err)
			}
			if out, err := cmd.Output(); err != nil || string(out) != "ran\n" {
				t.Errorf("%q, %v", out, err)
			}
			await(t, p)
		})
		t.Run("never started", func(t *testing.T) {
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			if err := p.(*tree).Contained(); !errors.Is(err, errNotStarted) {
				t.Error(err)
			}
			image := p.(*tree).wrapped.image
			runtime.KeepAlive(cmd)
			cmd = nil
			eventually(t, "it is collected", func() bool {
				runtime.GC()
				_, err := unix.FcntlInt(uintptr(image), unix.F_GETFD, 0)
				return err == unix.EBADF
			})
			await(t, p)
		})
		t.Run("collected after its start", func(t *testing.T) {
			cmd := exec.Command("echo", "ran")
			p := wrap(cmd)
			if p.(*tree).Started() {
				t.Error("started before its start")
			}
			if out, err := cmd.Output(); err != nil || string(out) != "ran\n" {
				t.Fatalf("%q, %v", out, err)
			}
			await(t, p)
			image := p.(*tree).wrapped.image
			cmd = nil
			eventually(t, "it is collected", func() bool {
				runtime.GC()
				_, err := unix.FcntlInt(uintptr(image), unix.F_GETFD, 0)
				return err == unix.EBADF
			})
			if err := p.(*tree).Contained(); err != nil || !p.(*tree).Started() {
				t.Errorf("started: %v, %v", p.(*tree).Started(), err)
			}
		})
		t.Run("started after Close", func(t *testing.T) {
			cmd := exec.Command("echo", "ran")
			wrap(cmd)
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			if err := i.Close(ctx); err != nil {
				t.Error(err)
			}
			exits125(t, cmd)
		})
	})
}

func init() { Roles["wrapper"] = wrapperRole }

// wrapperRole is a service that wraps a command and starts it in the frozen cgroup OUT.
func wrapperRole() {
	i, err := byName(os.Getenv(strategyEnv)).Install(context.Background(), registry.InstallOptions{})
	must(err)
	cmd := exec.Command("touch", os.Getenv(fileEnv))
	_, err = i.(registry.Wrapper).Wrap(cmd, registry.StartOptions{})
	must(err)
	dir, err := os.Open(os.Getenv("OUT"))
	must(err)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	must(cmd.Run())
	say("ran")
}

// TestOwnerDeadBeforeTheHelperRuns: a wrapped command that was forked by an owner which then
// died, before the helper's first instruction, never runs. The control is one whose owner lives.
func TestOwnerDeadBeforeTheHelperRuns(t *testing.T) {
	asRoot(t)
	for _, s := range working(t) {
		if s == Pdeathsig() {
			continue
		}
		for _, dies := range []bool{true, false} {
			t.Run(s.Describe().Name+map[bool]string{true: "/dies", false: "/control"}[dies], func(t *testing.T) {
				a := newArena(t)
				freeze := func(state string) {
					if err := os.WriteFile(string(a.group)+"/cgroup.freeze", []byte(state), 0); err != nil {
						t.Skip(err) // before Linux 5.2
					}
				}
				freeze("1")
				defer freeze("0") // before the arena ends
				file := filepath.Join(t.TempDir(), "file")
				service := startService(t, role("wrapper", strategyEnv+"="+s.Describe().Name, fileEnv+"="+file, "OUT="+string(a.group)))
				eventually(t, "the command is forked", func() bool {
					pids, err := a.group.PIDs()
					return err == nil && len(pids) > 0
				})
				if dies {
					_ = service.cmd.Process.Kill()
					_ = service.cmd.Wait()
				}
				freeze("0")
				if !dies {
					if said := service.hear(); said != "ran" {
						t.Error(said)
					}
				}
				if err := a.group.WaitEmpty(time.Now().Add(deadline)); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(file); dies != errors.Is(err, os.ErrNotExist) {
					t.Errorf("the file that the command makes: %v", err)
				}
			})
		}
	}
}
