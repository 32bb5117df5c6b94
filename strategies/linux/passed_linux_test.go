package linux

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
)

// A row is one of the table in Subreaper's documentation: see starts a command
// with start and returns what is to be seen of it. Plain and contained the same
// is seen, and it matches want, so that two failures are no success.
type row struct {
	name string
	root bool
	want string
	see  func(t *testing.T, start starter) string
}

// outcome runs cmd and returns what it wrote and how it ended.
func outcome(start starter, cmd *exec.Cmd) string {
	var out bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &out
	}
	if err := start(cmd); err != nil {
		return "start: " + err.Error()
	}
	err := cmd.Wait()
	return fmt.Sprintf("%s\nwait: %v", normal(out.String()), err)
}

var numbers = regexp.MustCompile(`(pipe|socket):\[\d+\]|\S*/(file)\b`)

// normal takes out what differs between any two runs.
func normal(s string) string { return numbers.ReplaceAllString(s, "$1$2") }

// shell returns a row of a shell script that runs as change asks.
func shell(name, script, want string, change func(t *testing.T, cmd *exec.Cmd)) row {
	return row{name: name, want: want, see: func(t *testing.T, start starter) string {
		cmd := exec.Command("sh", "-c", script)
		if change != nil {
			change(t, cmd)
		}
		return outcome(start, cmd)
	}}
}

// attr returns a row of a shell script under a SysProcAttr.
func attr(name, script, want string, a syscall.SysProcAttr) row {
	r := shell(name, script, want, func(_ *testing.T, cmd *exec.Cmd) { cmd.SysProcAttr = &a })
	r.root = true
	return r
}

const (
	// listFiles prints what a shell's descriptors refer to, but for 10: the shell's own.
	listFiles = `cd /proc/self/fd && for f in 0 1 2 3 4 5 6 7 8 9 11 12 13 14; do if [ -L $f ]; then echo $f $(readlink $f); fi; done`
	// status prints what is inherited and shown in /proc.
	status = `grep -E '^(Umask|Uid|Gid|Groups|SigBlk|SigIgn|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list|Mems_allowed_list)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj /proc/self/timerslack_ns /proc/self/cgroup
nice; readlink /proc/self/cwd /proc/self/root; cd /proc/self/ns && for n in *; do readlink $n; done`
	// ids says of what a shell is the leader, and whether it has a terminal.
	ids = `set -- $(cat /proc/$$/stat); shift 4
[ $1 = $$ ] && echo leads a group; [ $2 = $$ ] && echo leads a session
[ $3 != 0 ] && echo has a terminal; [ $4 = $1 ] && echo is in the foreground; echo .`
)

func file(t *testing.T, content string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

var streamRows = []row{
	shell("Stdin/file", "cat", `^hello`, func(t *testing.T, cmd *exec.Cmd) { cmd.Stdin = file(t, "hello") }),
	shell("Stdin/reader", "cat", `^hello`, func(t *testing.T, cmd *exec.Cmd) { cmd.Stdin = strings.NewReader("hello") }),
	shell("Stdin/nil", "readlink /proc/self/fd/0", `/dev/null`, nil),
	{name: "Stdin/pipe", want: "hello", see: func(t *testing.T, start starter) string {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(in, "hello"); in.Close() }()
		return outcome(start, cmd)
	}},
	{name: "Stdout/file", want: "hello", see: func(t *testing.T, start starter) string {
		f := file(t, "")
		cmd := exec.Command("echo", "hello")
		cmd.Stdout = f
		how := outcome(start, cmd)
		b, err := os.ReadFile(f.Name())
		return fmt.Sprint(how, string(b), err)
	}},
	{name: "Stdout and Stderr/pipes", want: "out.*err", see: func(t *testing.T, start starter) string {
		cmd := exec.Command("sh", "-c", "echo out; echo err >&2")
		stdout, err1 := cmd.StdoutPipe()
		stderr, err2 := cmd.StderrPipe()
		if err := errors.Join(err1, err2, start(cmd)); err != nil {
			return err.Error()
		}
		o, err1 := io.ReadAll(stdout)
		e, err2 := io.ReadAll(stderr)
		return fmt.Sprintf("%q %q %v", o, e, errors.Join(err1, err2, cmd.Wait()))
	}},
	{name: "Stdout and Stderr/one", want: "pipe\n2 pipe", see: func(_ *testing.T, start starter) string {
		var both bytes.Buffer
		cmd := exec.Command("sh", "-c", "echo err >&2; echo out; "+listFiles)
		cmd.Stdout, cmd.Stderr = &both, &both
		return outcome(start, cmd) + normal(both.String())
	}},
	{name: "Stdout and Stderr/nil", want: "0 /dev/null\n1 /dev/null\n2 /dev/null", see: func(t *testing.T, start starter) string {
		name := filepath.Join(t.TempDir(), "files")
		cmd := exec.Command("sh", "-c", `f=$(`+listFiles+`); echo "$f" >"$0"`, name)
		if err := start(cmd); err != nil {
			return err.Error()
		}
		err := cmd.Wait()
		b, _ := os.ReadFile(name)
		return strings.ReplaceAll(normal(string(b)), "\n1 pipe", "\n1 /dev/null") + fmt.Sprint(err) // $() itself
	}},
	shell("ExtraFiles", "cat <&3; "+listFiles, "^three", func(t *testing.T, cmd *exec.Cmd) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { null.Close() })
		cmd.Dir = "/"
		f := file(t, "three")
		_ = os.Remove(f.Name())
		cmd.ExtraFiles = []*os.File{f, null, nil, null, nil, nil, null, nil}
	}),
	shell("no ExtraFiles", listFiles, "^0 /dev/null\n1 pipe\n2 pipe\n\n", nil),
	shell("ExtraFiles/nil first", listFiles, "^0 /dev/null\n1 pipe\n2 pipe\n\n", func(_ *testing.T, cmd *exec.Cmd) {
		cmd.ExtraFiles = make([]*os.File, 9)
	}),
}

func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

var commandRows = []row{
	{name: "Path and Args[0]", want: `weird name\x00/proc/self/cmdline\x00`, see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/bin/cat", Args: []string{"weird name", "/proc/self/cmdline"}})
	}},
	{name: "Args/empty ones", want: `\x00\x00`, see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/bin/cat", Args: []string{"", "/proc/self/cmdline", "", "-u", ""}})
	}},
	{name: "Args/nil", want: `^/bin/sh\x00\n`, see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/bin/sh", Stdin: strings.NewReader("cat /proc/$$/cmdline")})
	}},
	{name: "Path/relative to Dir", want: "ran", see: func(t *testing.T, start starter) string {
		path := script(t, "script", "#!/bin/sh\necho ran $0\n")
		return outcome(start, &exec.Cmd{Path: "./script", Dir: filepath.Dir(path)})
	}},
	{name: "Env/nil", want: "PATH=", see: func(_ *testing.T, start starter) string {
		return outcome(start, exec.Command("/usr/bin/env"))
	}},
	{name: "Env/nil, with Dir", want: "PWD=/usr\n", see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/usr/bin/env", Dir: "/usr"})
	}},
	{name: "Env/set, with Dir", want: "^A=1\n\n", see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/usr/bin/env", Dir: "/usr", Env: []string{"A=1"}})
	}},
	{name: "Env/duplicates", want: "^B=\nA=2\n=3\nGODEBUG=x", see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/usr/bin/env", Env: []string{"A=1", "B=", "A=2", "=3", "GODEBUG=x", "LD_PRELOAD=", "GOMEMLIMIT=1"}})
	}},
	{name: "Env/empty", want: "^\nwait: <nil>", see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/usr/bin/env", Env: []string{}})
	}},
	{name: "Env/large", want: "^100000", see: func(_ *testing.T, start starter) string {
		return outcome(start, &exec.Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", "printf %s $A | wc -c"}, Env: []string{"A=" + strings.Repeat("x", 100000), "PATH=/bin:/usr/bin"}})
	}},
	shell("Dir", "pwd -P; readlink /proc/self/cwd", "^/usr/bin\n/usr/bin", func(_ *testing.T, cmd *exec.Cmd) { cmd.Dir = "/usr/bin" }),
	shell("Dir/relative", "pwd -P", "^/", func(_ *testing.T, cmd *exec.Cmd) { cmd.Dir = ".." }),
	shell("what is inherited", status, "SigIgn", nil),
	{name: "Cancel", want: "got TERM.*exit status 3", see: func(t *testing.T, start starter) string {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, "sh", "-c", `trap 'echo got TERM; exit 3' TERM; echo up >&3; while :; do sleep 0.01; done`)
		cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
		return cancelled(t, start, cmd, cancel)
	}},
	{name: "Cancel/default", want: "signal: killed", see: func(t *testing.T, start starter) string {
		ctx, cancel := context.WithCancel(t.Context())
		return cancelled(t, start, exec.CommandContext(ctx, "sh", "-c", "echo up >&3; exec sleep 1000"), cancel)
	}},
	{name: "WaitDelay", want: "signal: killed", see: func(t *testing.T, start starter) string {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, "sh", "-c", "echo up >&3; exec sleep 1000")
		cmd.Cancel = func() error { return os.ErrProcessDone }
		cmd.WaitDelay = 50 * time.Millisecond
		return cancelled(t, start, cmd, cancel)
	}},
}

// cancelled cancels a command once it is up.
func cancelled(t *testing.T, start starter, cmd *exec.Cmd, cancel func()) string {
	l := newLiveness(t)
	l.carry(cmd)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := start(cmd); err != nil {
		return err.Error()
	}
	l.let()
	l.expect("up")
	cancel()
	err := cmd.Wait()
	l.wantGone()
	return strings.TrimSpace(out.String()) + " " + err.Error()
}

var nobody = &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534, 12, 1000000}}

var attrRows = []row{
	attr("zero", ids, `^\.\n`, syscall.SysProcAttr{}),
	attr("Setsid", ids, `^leads a group\nleads a session\n\.`, syscall.SysProcAttr{Setsid: true}),
	attr("Chroot", "", "start: .*no such file", syscall.SysProcAttr{Chroot: "/proc"}),
	{name: "Chroot into /usr", root: true, want: "(?m)^bin$", see: func(t *testing.T, start starter) string {
		if _, err := os.Stat("/usr/lib64/ld-linux-x86-64.so.2"); err != nil {
			t.Skip("no dynamic loader below /usr")
		}
		return outcome(start, &exec.Cmd{Path: "/bin/ls", Args: []string{"ls", "/"}, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Chroot: "/usr"}})
	}},
	attr("Credential", status, `Groups:\s12 65534 1000000`, syscall.SysProcAttr{Credential: nobody}),
	attr("Credential/no groups", status, `Groups:\s*\n`, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}),
	attr("Credential/NoSetGroups", status, `Uid:\s65534`, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 1, NoSetGroups: true}}),
	attr("AmbientCaps", status, `CapAmb:\s0000000800000400`, syscall.SysProcAttr{Credential: nobody, AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_WAKE_ALARM}}),
	attr("AmbientCaps/as root", status, `CapAmb:\s0000000000000400`, syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE}}),
	attr("Pdeathsig", ids, `^\.\n`, syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}),
	attr("Cloneflags/NEWUTS", "hostname contained && hostname", "^contained", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}),
	attr("Cloneflags/NEWPID", "echo $$; exit 7", "^1\n.*exit status 7", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}),
	attr("Cloneflags/NEWIPC", "wc -l </proc/sysvipc/shm", "^1\n", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWIPC}),
	attr("Cloneflags/NEWNET", "wc -l </proc/net/dev", "^3\n", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}),
	attr("Cloneflags/NEWNS", "mount --make-rprivate / && mount -t tmpfs none /mnt && grep -c ' /mnt ' /proc/self/mounts", "^1\n", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}),
	attr("Unshareflags/NEWNS", "mount -t tmpfs none /mnt && grep -c ' /mnt ' /proc/self/mounts", "^1\n", syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}),
	attr("Unshareflags/NEWNET and FS", "wc -l </proc/net/dev", "^3\n", syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_FS}),
	attr("Setctty/not a descriptor of the command's", ids, "start: .*Ctty not valid", syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 17}),
	attr("Setctty/not a terminal", ids, "start: .*inappropriate ioctl", syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}),
	attr("Setctty and Foreground", ids, "start: .*both Setctty and Foreground", syscall.SysProcAttr{Setctty: true, Foreground: true}),
	attr("Foreground/not a terminal", ids, "start: .*inappropriate ioctl", syscall.SysProcAttr{Foreground: true, Ctty: 1}),
	{name: "Setpgid", want: "true", see: func(t *testing.T, start starter) string {
		return group(t, start, &syscall.SysProcAttr{Setpgid: true}, func(cmd *exec.Cmd) int { return cmd.Process.Pid })
	}},
	{name: "Setpgid/Pgid", want: "true", see: func(t *testing.T, start starter) string {
		other := exec.Command("cat")
		other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		in, err := other.StdinPipe()
		if err = errors.Join(err, other.Start()); err != nil {
			t.Fatal(err)
		}
		defer other.Wait()
		defer in.Close()
		return group(t, start, &syscall.SysProcAttr{Setpgid: true, Pgid: other.Process.Pid}, func(*exec.Cmd) int { return other.Process.Pid })
	}},
	{name: "no Setpgid", want: "true", see: func(t *testing.T, start starter) string {
		return group(t, start, nil, func(*exec.Cmd) int { return unix.Getpgrp() })
	}},
	{name: "Setctty", want: "leads a session\nhas a terminal\nis in the foreground", see: func(t *testing.T, start starter) string {
		cmd := exec.Command("sh", "-c", ids)
		cmd.Stdin = terminal(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		return outcome(start, cmd)
	}},
	{name: "UseCgroupFD", root: true, want: "0::.*/scratch-of-a-test-", see: func(t *testing.T, start starter) string {
		a := &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: scratchCgroup(t)}
		cmd := exec.Command("sh", "-c", "grep ^0:: /proc/self/cgroup")
		cmd.SysProcAttr = a
		return regexp.MustCompile("scratch-of-a-test-.*").ReplaceAllString(outcome(start, cmd), "scratch-of-a-test-")
	}},
	{name: "PidFD", want: "true signal: user defined signal 1", see: func(t *testing.T, start starter) string {
		fd := -1
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
		if err := start(cmd); err != nil {
			return err.Error()
		}
		info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		err := unix.PidfdSendSignal(fd, unix.SIGUSR1, nil, 0)
		_ = unix.Close(fd)
		ours := strings.Contains(string(info), fmt.Sprintf("Pid:\t%d\n", cmd.Process.Pid))
		return fmt.Sprint(ours, errors.Join(err, cmd.Wait()))
	}},
}

// group reports whether the command is in the process group that want says.
func group(t *testing.T, start starter, a *syscall.SysProcAttr, want func(*exec.Cmd) int) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", "set -- $(cat /proc/$$/stat); echo $5")
	cmd.Stdout, cmd.SysProcAttr = &out, a
	if err := start(cmd); err != nil {
		return err.Error()
	}
	if err := cmd.Wait(); err != nil {
		return err.Error()
	}
	return fmt.Sprint(strings.TrimSpace(out.String()) == fmt.Sprint(want(cmd)))
}

// scratchCgroup makes a scratch cgroup and returns a descriptor of its directory.
func scratchCgroup(t *testing.T) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 `).FindSubmatch(mounts)
	if m == nil {
		t.Skip("no cgroup2 is mounted")
	}
	dir, err := os.MkdirTemp(string(m[1]), "scratch-of-a-test-")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { eventually(t, "the cgroup is removed", func() bool { return os.Remove(dir) == nil }) })
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// terminal returns the slave of a new pseudoterminal, pty(7).
func terminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return slave
}

// passing are the strategies that pass on what an exec.Cmd carries.
var passing = []registry.Strategy{Subreaper(), Pdeathsig()}

func TestPassed(t *testing.T) {
	notShort(t)
	for _, s := range passing {
		contained := under(install(t, s))
		for kind, rows := range map[string][]row{"streams": streamRows, "command": commandRows, "SysProcAttr": attrRows} {
			for _, r := range rows {
				t.Run(s.Describe().Name+"/"+kind+"/"+r.name, func(t *testing.T) {
					if r.root {
						asRoot(t)
					}
					r.check(t, contained)
				})
			}
		}
	}
}

func (r row) check(t *testing.T, contained starter) {
	t.Helper()
	want, got := r.see(t, plain), r.see(t, contained)
	if want != got {
		t.Error(difference(want, got))
	}
	if !regexp.MustCompile("(?s)" + r.want).MatchString(got) {
		t.Errorf("%q is not to be seen in:\n%s", r.want, got)
	}
}

// difference returns the lines that only one of the two has.
func difference(plain, contained string) string {
	p, c := strings.Split(plain, "\n"), strings.Split(contained, "\n")
	without := func(lines, other []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(other, l) })
	}
	return fmt.Sprintf("plain only:\n%s\ncontained only:\n%s", strings.Join(without(p, c), "\n"), strings.Join(without(c, p), "\n"))
}

func TestRefused(t *testing.T) {
	i := install(t, Subreaper())
	ids := []syscall.SysProcIDMap{{Size: 1}}
	for name, a := range map[string]*syscall.SysProcAttr{
		"Pdeathsig":            {Pdeathsig: syscall.SIGTERM},
		"Ptrace":               {Ptrace: true},
		"UidMappings":          {UidMappings: ids},
		"GidMappings":          {GidMappings: ids},
		"Cloneflags/NEWUSER":   {Cloneflags: unix.CLONE_NEWUSER},
		"Cloneflags/PARENT":    {Cloneflags: unix.CLONE_PARENT},
		"Cloneflags/VM":        {Cloneflags: unix.CLONE_VM},
		"Cloneflags/FS":        {Cloneflags: unix.CLONE_FS},
		"Cloneflags/NEWTIME":   {Cloneflags: unix.CLONE_NEWTIME},
		"Unshareflags/NEWUSER": {Unshareflags: unix.CLONE_NEWUSER},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = a
			_, err := registry.Start(i, cmd, registry.StartOptions{})
			var own *registry.Error
			if !errors.Is(err, registry.ErrNotPassed) || !errors.As(err, &own) || own.Strategy != SubreaperName {
				t.Fatalf("error %v; want ErrNotPassed in a registry.Error", err)
			}
			if field := strings.Split(name, "/")[0]; !strings.Contains(err.Error(), field) {
				t.Errorf("%q does not name %s", err, field)
			}
			if cmd.Process != nil {
				t.Error("something was started")
			}
		})
	}
}

// exported returns the fields of cmd that a caller can see.
func exported(cmd *exec.Cmd) map[string]any {
	fields := map[string]any{}
	v := reflect.ValueOf(cmd).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Type.Kind() != reflect.Func {
			fields[f.Name] = v.Field(i).Interface()
		}
	}
	return fields
}

func TestStartRestoresFields(t *testing.T) {
	for _, s := range passing {
		i := install(t, s)
		for name, fill := range map[string]func(*exec.Cmd){
			"empty": func(*exec.Cmd) {},
			"full": func(cmd *exec.Cmd) {
				cmd.Env, cmd.Dir = []string{"A=1", "A=2"}, "/"
				cmd.Stdin, cmd.Stdout = strings.NewReader(""), io.Discard
				cmd.ExtraFiles = append(make([]*os.File, 0, 10), nil)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.WaitDelay = time.Minute
			},
		} {
			t.Run(s.Describe().Name+"/"+name, func(t *testing.T) {
				cmd := exec.Command("/bin/true", "x")
				fill(cmd)
				var attr syscall.SysProcAttr
				if cmd.SysProcAttr != nil {
					attr = *cmd.SysProcAttr
				}
				want, wantCap := exported(cmd), cap(cmd.ExtraFiles)
				if _, err := registry.Start(i, cmd, registry.StartOptions{}); err != nil {
					t.Fatal(err)
				}
				got := exported(cmd)
				if cmd.Process == nil {
					t.Error("Process is not set")
				}
				delete(want, "Process")
				delete(got, "Process")
				if !reflect.DeepEqual(want, got) || cap(cmd.ExtraFiles) != wantCap {
					t.Errorf("before: %v\nafter: %v", want, got)
				}
				if cmd.SysProcAttr != nil && !reflect.DeepEqual(*cmd.SysProcAttr, attr) {
					t.Errorf("SysProcAttr was changed: %+v", cmd.SysProcAttr)
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
				if cmd.ProcessState == nil || cmd.ProcessState.Pid() != cmd.Process.Pid {
					t.Error("ProcessState is not that of Process")
				}
			})
		}
	}
}

const rowEnv = "CONTAIN_TEST_ROW"

func init() { Roles["changed"] = changedRole }

// processRows are those that depend on the state of the owner: shell lines that
// come before it is executed, and what it does itself.
var processRows = map[string]struct {
	before string
	self   func()
	see    string
	want   string
}{
	"soft limit":           {before: "ulimit -Sn 200", see: "ulimit -Sn; ulimit -Hn", want: `^200\n`},
	"umask":                {self: func() { unix.Umask(0o27) }, see: status, want: `Umask:\s0027`},
	"ignored by itself":    {self: func() { signal.Ignore(unix.SIGTERM, unix.SIGQUIT, unix.SIGPIPE, unix.SIGHUP, unix.SIGUSR1) }, see: status, want: `SigIgn:\s0000000000005205`},
	"ignored at start":     {before: `trap "" HUP INT TERM QUIT PIPE USR2`, see: status, want: `SigIgn:\s0000000000000003`},
	"ignored, then caught": {before: `trap "" HUP`, self: func() { signal.Notify(make(chan os.Signal, 1), unix.SIGHUP) }, see: status, want: `SigIgn:\s0000000000000000`},
	"blocked":              {before: "set -- env --block-signal=USR2 --block-signal=WINCH", see: "/bin/grep Sig[BI] /proc/self/status", want: `SigBlk:\s0000000008000800`},
	"no_new_privs":         {before: "set -- setpriv --no-new-privs", see: status, want: `NoNewPrivs:\s1`},
	"working directory":    {self: func() { must(os.Chdir("/usr")) }, see: "pwd -P; echo $PWD", want: "^/usr"},
	"nice":                 {before: "set -- nice -n 7", see: status, want: "\n7\n"},
	"terminal":             {see: ids, want: "has a terminal\nis in the foreground"},
	"Foreground":           {self: foreground, see: ids, want: "leads a group\nhas a terminal\nis in the foreground|has a terminal\nis in the foreground"},
	"Noctty":               {self: func() { changedAttr = &syscall.SysProcAttr{Noctty: true} }, see: ids, want: `^\.`},
}

var changedAttr *syscall.SysProcAttr

// foreground asks for the backend to be in the terminal's foreground, and lets
// this process take the terminal back.
func foreground() {
	signal.Ignore(unix.SIGTTOU)
	changedAttr = &syscall.SysProcAttr{Foreground: true, Ctty: 0}
}

// changedRole changes itself as a row says, and reports what is seen of a plain
// and of a contained command.
func changedRole() {
	row := processRows[os.Getenv(rowEnv)]
	if row.self != nil {
		row.self()
	}
	var saw [2]string
	for i, name := range []string{"plain", os.Getenv(strategyEnv)} {
		cmd := exec.Command("sh", "-c", row.see)
		if row.see[0] == '/' { // a shell would change what is to be seen
			words := strings.Fields(row.see)
			cmd = exec.Command(words[0], words[1:]...)
		}
		cmd.Stdin, cmd.SysProcAttr = os.Stdin, changedAttr
		saw[i] = outcome(starterOf(name, registry.InstallOptions{}), cmd)
		if changedAttr != nil && changedAttr.Foreground {
			must(unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp()))
			// The backend leads a group in one case, is a member of it in the other.
			saw[i] = strings.ReplaceAll(saw[i], "leads a group\n", "")
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(saw))
}

func TestPassedFromTheProcess(t *testing.T) {
	for name, row := range processRows {
		for _, s := range passing {
			strategy := s.Describe().Name
			t.Run(strategy+"/"+name, func(t *testing.T) {
				cmd := role("changed", rowEnv+"="+name, strategyEnv+"="+strategy)
				cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `self=$1; shift; ` + row.before + `
exec "$@" "$self"`, "sh", cmd.Path}
				cmd.Stdin = terminal(t)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
				var saw [2]string
				if err := json.Unmarshal([]byte(played(t, cmd)), &saw); err != nil {
					t.Fatal(err)
				}
				if saw[0] != saw[1] {
					t.Error(difference(saw[0], saw[1]))
				}
				if !regexp.MustCompile("(?s)" + row.want).MatchString(saw[1]) {
					t.Errorf("%q is not to be seen in:\n%s", row.want, saw[1])
				}
			})
		}
	}
}
