package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The daemons of this test are real ones, from Debian's packages. It runs where
// CONTAIN_DAEMONS=1 says that they are installed (.ci/run does), as root.
const daemonsEnv = "CONTAIN_DAEMONS"

// daemonLimit bounds every wait: PostgreSQL and Chromium take their time.
const daemonLimit = 60 * time.Second

// A daemon is a server that leaves its caller behind, and where it answers.
type daemon struct {
	name    string
	command func(t *testing.T, dir string, port int) []string
	// answers dials where the daemon listens; nil means TCP on the port.
	answers func(dir string, port int) (net.Conn, error)
}

var daemons = []daemon{
	{name: "nginx", command: nginx},
	{name: "redis", command: func(_ *testing.T, dir string, port int) []string {
		return []string{"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--daemonize", "yes", "--dir", dir, "--save", "", "--pidfile", dir + "/redis.pid"}
	}},
	{name: "postgresql", command: postgres},
	{name: "make", command: makeTree, answers: func(dir string, _ int) (net.Conn, error) {
		return net.DialTimeout("unix", dir+"/answer", time.Second)
	}},
	{name: "chromium", command: func(_ *testing.T, dir string, port int) []string {
		return []string{"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--user-data-dir=" + dir + "/profile", "--remote-debugging-port=" + strconv.Itoa(port), "about:blank"}
	}},
}

func nginx(t *testing.T, dir string, port int) []string {
	conf := fmt.Sprintf("daemon on; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/error.log;\nevents {}\nhttp { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s; server { listen 127.0.0.1:%[2]d; } }\n", dir, port)
	writeFile(t, dir+"/nginx.conf", conf)
	return []string{"nginx", "-c", dir + "/nginx.conf"}
}

// postgres initialises a cluster as an unprivileged user and starts it through
// pg_ctl, which exits once the server answers.
func postgres(t *testing.T, dir string, port int) []string {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(bins) == 0 {
		t.Fatal("PostgreSQL is not installed")
	}
	bin, data := bins[len(bins)-1], dir+"/data"
	as := func(args ...string) []string {
		return append([]string{"setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"}, args...)
	}
	own(t, dir, "postgres")
	if _, err := os.Stat(data + "/PG_VERSION"); err != nil {
		args := as(bin+"/initdb", "-D", data, "-A", "trust", "--no-sync")
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("initdb: %v\n%s", err, out)
		}
	}
	return as(bin+"/pg_ctl", "-D", data, "-l", dir+"/log", "-w", "-o",
		fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s -c fsync=off", port, dir), "start")
}

func own(t *testing.T, dir, name string) {
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// makeTree is make with a tree of shell loops below it; one of them answers on a
// socket, by this test binary's own role.
func makeTree(t *testing.T, dir string, _ int) []string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/Makefile", fmt.Sprintf("all: a b c d\na b c:\n\t@sh -c 'while :; do sh -c \"sleep 1\"; done'\nd:\n\t@rm -f %[1]s/answer; CONTAIN_TEST_ANSWER=%[1]s/answer exec %[2]s\n", dir, self))
	return []string{"make", "-s", "-j", "4", "-C", dir}
}

func init() {
	path := os.Getenv("CONTAIN_TEST_ANSWER")
	if path == "" {
		return
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *daemon) dial(dir string, port int) (net.Conn, error) {
	if d.answers != nil {
		return d.answers(dir, port)
	}
	return net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
}

func (d *daemon) answering(dir string, port int) bool {
	c, err := d.dial(dir, port)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// TestDaemons: a daemon that left its caller behind ends when contain is
// SIGKILLed, its port is free, and it can be started again. The control is the
// same daemon without contain, which goes on answering after the SIGKILL of what
// started it.
func TestDaemons(t *testing.T) {
	if os.Getenv(daemonsEnv) != "1" {
		t.Skipf("set %s=1 where nginx, redis, PostgreSQL, make and Chromium are installed", daemonsEnv)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, d := range daemons {
		t.Run(d.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "contain-daemon")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, strategy := range []string{"linux/cgroup", "linux/subreaper", "linux/pidns"} {
				t.Run(filepath.Base(strategy), func(t *testing.T) {
					port := freePort(t)
					for range 2 { // the second start needs what the first held
						d.killedWith(t, dir, port, strategy)
					}
				})
			}
			t.Run("control", func(t *testing.T) { d.control(t, dir, freePort(t)) })
		})
	}
}

// killedWith starts the daemon under contain, SIGKILLs contain, and expects
// silence.
func (d *daemon) killedWith(t *testing.T, dir string, port int, strategy string) {
	t.Helper()
	args := append([]string{"run", "--strategy", strategy, "--on-exit=wait", "--"}, d.command(t, dir, port)...)
	run := d.start(t, append([]string{"contain"}, args...))
	waitUntil(t, d.name+" answers", func() bool { return d.answering(dir, port) })
	witness, err := d.dial(dir, port) // its end shows the server's, whatever the port does
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	if inside := descendants(run.Process.Pid); inside < 2 {
		t.Fatalf("below contain are only %d processes, so %s is not inside", inside, d.name)
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = run.Wait()
	_ = witness.SetReadDeadline(time.Now().Add(daemonLimit))
	if _, err := io.Copy(io.Discard, witness); os.IsTimeout(err) {
		t.Fatalf("%s lives on", d.name)
	}
	waitUntil(t, d.name+" is silent", func() bool { return !d.answering(dir, port) })
	waitUntil(t, "nothing of "+d.name+" is left", func() bool { return mentioning(dir, nil) == 0 })
	t.Logf("%s: gone %v after the SIGKILL", strategy, time.Since(began).Round(time.Millisecond))
}

// control starts the daemon without contain, below a shell that is SIGKILLed. The
// shell waits for that without a child of its own, which would be left.
func (d *daemon) control(t *testing.T, dir string, port int) {
	args := append([]string{"sh", "-c", `"$@"; kill -STOP $$`, "sh"}, d.command(t, dir, port)...)
	run := d.start(t, args)
	waitUntil(t, d.name+" answers", func() bool { return d.answering(dir, port) })
	_ = run.Process.Kill()
	_ = run.Wait()
	if !d.answering(dir, port) {
		t.Errorf("%s ended with its caller even without contain: the test shows nothing", d.name)
	}
	waitUntil(t, "the control's "+d.name+" has been ended", func() bool {
		left := mentioning(dir, func(fd int) { _ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
		return left == 0 && !d.answering(dir, port)
	})
}

func (d *daemon) start(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*daemonLimit)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	log, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%q wrote:\n%s", args, text)
		}
		log.Close()
	})
	return cmd
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(daemonLimit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", daemonLimit, what)
		}
	}
}

// mentioning counts the living processes that have dir, a scratch directory of
// this test's own, in their arguments, environment, working directory or open
// files, and hands f a pidfd of each that was opened before.
func mentioning(dir string, f func(fd int)) int {
	n := 0
	for _, p := range glob("/proc/[0-9]*") {
		pid, _ := strconv.Atoi(filepath.Base(p))
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil || pid == os.Getpid() {
			_ = unix.Close(fd)
			continue
		}
		args, _ := os.ReadFile(p + "/cmdline") // a zombie has none
		env, _ := os.ReadFile(p + "/environ")
		cwd, _ := os.Readlink(p + "/cwd")
		links := cwd
		for _, f := range glob(p + "/fd/*") { // nginx overwrites its arguments and environment
			link, _ := os.Readlink(f)
			links += " " + link
		}
		if strings.Contains(string(args)+string(env)+links, dir) {
			n++
			if f != nil {
				f(fd)
			}
		}
		_ = unix.Close(fd)
	}
	return n
}

// descendants counts what is alive below pid.
func descendants(pid int) int {
	var children []byte
	for _, f := range glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) {
		b, _ := os.ReadFile(f)
		children = append(children, b...)
	}
	n := 0
	for _, c := range strings.Fields(string(children)) {
		child, _ := strconv.Atoi(c)
		n += 1 + descendants(child)
	}
	return n
}

func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}
