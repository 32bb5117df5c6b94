package command

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dockerEnv says that Debian's docker.io and busybox-static are installed (.ci/run does it),
// and that a daemon may be started, which takes root.
const dockerEnv = "CONTAIN_DOCKER"

// docker is a daemon of the test's own, in directories of its own: without networks,
// for which it would change the host's firewall.
type docker struct {
	t    *testing.T
	dir  string
	name string // of the one container that there is at a time
}

// dockerImage is made from nothing but contain and busybox.
const dockerImage = "contain-test"

func startDocker(t *testing.T, contain string) *docker {
	t.Helper()
	// A socket's path is short, unix(7).
	dir, err := os.MkdirTemp("", "contain-docker-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &docker{t: t, dir: dir, name: "contain-test-" + filepath.Base(dir)}
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// Below contain: the daemon's own daemons end with this test, whatever becomes of it.
	daemon := exec.Command(contain, "run", "--", "dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--host=unix://"+dir+"/sock",
		"--data-root="+dir+"/data", "--exec-root="+dir+"/run", "--pidfile="+dir+"/pid")
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- daemon.Wait() }()
	t.Cleanup(func() {
		_ = daemon.Process.Signal(unix.SIGTERM)
		<-over
		d.unmount()
	})
	for end := time.Now().Add(2 * time.Minute); d.docker("version").Run() != nil; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-over:
			over <- err
			text, _ := os.ReadFile(dir + "/log")
			t.Fatalf("dockerd: %v\n%s", err, text)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("dockerd does not answer")
		}
	}
	return d
}

// unmount takes off what a daemon leaves mounted below its directories.
func (d *docker) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.dir+"/") {
			_ = unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
}

// docker is the client.
func (d *docker) docker(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"--host=unix://" + d.dir + "/sock"}, args...)...)
}

// ok runs the client, which must succeed, and returns what it says.
func (d *docker) ok(args ...string) string {
	d.t.Helper()
	out, err := d.docker(args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("docker %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// load makes the image.
func (d *docker) load(contain string) {
	d.t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		d.t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	add := func(h tar.Header, from string) {
		b := []byte(nil)
		if from != "" {
			if b, err = os.ReadFile(from); err != nil {
				d.t.Fatal(err)
			}
		}
		h.Mode, h.Size = 0o755, int64(len(b))
		if err := w.WriteHeader(&h); err != nil {
			d.t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			d.t.Fatal(err)
		}
	}
	add(tar.Header{Name: "./", Typeflag: tar.TypeDir}, "")
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir}, "")
	add(tar.Header{Name: "contain"}, contain)
	add(tar.Header{Name: "bin/busybox"}, busybox)
	for _, tool := range []string{"sh", "sleep", "setsid", "grep", "tail", "cat", "id"} {
		add(tar.Header{Name: "bin/" + tool, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, "")
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	cmd := d.docker("import", "-", dockerImage)
	cmd.Stdin = &image
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("docker import: %v: %s", err, out)
	}
}

// run runs a container in the foreground, which goes with the test.
func (d *docker) run(options []string, args ...string) *session {
	d.t.Helper()
	all := append([]string{"run", "--rm", "--interactive", "--network=none", "--name=" + d.name}, options...)
	return start(d.t, d.docker(append(append(all, dockerImage), args...)...))
}

// dockerTree is a tree with a daemon and one that ignores signals, whose members
// hold a mark in their arguments, by which $left counts them.
const dockerTree = `setsid sleep 98765432 & (trap "" TERM INT HUP; sleep 98765432 &); wait`

const dockerLeft = `left() { n=0; for p in /proc/[0-9]*/cmdline; do ! grep -q "^sleep.98765432" $p 2>/dev/null || n=$((n+1)); done; }`

// TestDocker: contain in containers that a real Docker daemon makes, of its own
// defaults and with the options that people give.
func TestDocker(t *testing.T) {
	if os.Getenv(dockerEnv) != "1" {
		t.Skipf("set %s=1 where docker.io and busybox-static are installed", dockerEnv)
	}
	if os.Geteuid() != 0 {
		t.Skip("a Docker daemon needs root")
	}
	contain := staticContain(t)
	d := startDocker(t, contain)
	d.load(contain)
	for _, c := range []struct {
		name string
		test func(*docker)
	}{{"owner-killed", dockerOwnerKilled}, {"reload", dockerReload}, {"stop", dockerStop}, {"exec", dockerExec}, {"out-of-memory", dockerOutOfMemory}} {
		t.Run(c.name, func(t *testing.T) {
			one := *d
			one.t = t
			t.Cleanup(func() { _ = d.docker("rm", "--force", d.name).Run() })
			c.test(&one)
		})
	}
}

// dockerOwnerKilled: with any of these options contain, below PID 1, is SIGKILLed, and
// nothing is left of what it ran. Plainly all of it is.
func dockerOwnerKilled(d *docker) {
	for name, options := range map[string][]string{
		"defaults":   nil,
		"user":       {"--user=65534:65534"},
		"read-only":  {"--read-only"},
		"no-caps":    {"--cap-drop=ALL", "--security-opt=no-new-privileges"},
		"pids-limit": {"--pids-limit=64"},
		"memory":     {"--memory=128m"},
		"init":       {"--init"},
		"host-pid":   {"--pid=host"},
	} {
		for _, contained := range []bool{true, false} {
			owner, want := "sh -c '"+dockerTree+"'", 2
			if contained {
				owner, want = "/contain run -- "+owner, 0
			}
			p := d.run(options, "/bin/sh", "-c", fmt.Sprintf(`%s
%s & owner=$!; left; while [ $n -lt 2 ]; do sleep 0.1; left; done; echo inside; kill -KILL $owner; wait $owner
try=0; left; while [ $n -gt %d ] && [ $try -lt 200 ]; do sleep 0.1; try=$((try+1)); left; done; echo left $n
for p in /proc/[0-9]*; do ! grep -q "^sleep.98765432" $p/cmdline 2>/dev/null || kill -KILL ${p#/proc/}; done`, dockerLeft, owner, want))
			p.expect("inside")
			if line := p.hear("how many are left"); line != fmt.Sprintf("left %d", want) {
				d.t.Errorf("%s, contained %v: %s, want %d; %s", name, contained, line, want, p.stderr())
			}
			if code := p.code(); code != 0 {
				d.t.Errorf("%s, contained %v: exit code %d; %s", name, contained, code, p.stderr())
			}
		}
	}
}

// dockerReload: docker kill -s HUP is a reload of the command and no end.
func dockerReload(d *docker) {
	p := d.run(nil, "/contain", "run", "--", "sh", "-c", "trap 'echo reload' HUP; trap 'exit 9' USR1; sleep 1000 & echo ready; while :; do wait; done")
	p.expect("ready")
	for range 3 {
		d.ok("kill", "--signal=HUP", d.name)
		p.expect("reload")
	}
	d.ok("kill", "--signal=USR1", d.name)
	if code := p.code(); code != 9 {
		d.t.Errorf("exit code %d, want 9; %s", code, p.stderr())
	}
}

// dockerStop: docker stop ends a command that does not handle TERM at once, with the
// code of that signal, and not after docker's patience, with that of SIGKILL.
func dockerStop(d *docker) {
	p := d.run(nil, "/contain", "run", "--", "sh", "-c", "echo inside; "+dockerTree)
	p.expect("inside")
	d.ok("stop", "--time=600", d.name)
	if code := p.code(); code != 143 {
		d.t.Errorf("exit code %d, want 143; %s", code, p.stderr())
	}
	// The control: as PID 1 it does not end of TERM.
	p = d.run(nil, "/bin/sh", "-c", "echo ready; exec sleep 1000")
	p.expect("ready")
	d.ok("stop", "--time=1", d.name)
	if code := p.code(); code != 137 {
		d.t.Errorf("exit code %d without contain, want 137: the test shows nothing; %s", code, p.stderr())
	}
}

// dockerExec: what docker exec starts is none of contain's: it sees the tree, and goes
// with the container.
func dockerExec(d *docker) {
	p := d.run(nil, "/contain", "run", "--", "sh", "-c", "sleep 98765432 & echo ready; read go; exit 6")
	p.expect("ready")
	beside := start(d.t, d.docker("exec", "--interactive", d.name, "/bin/sh", "-c", dockerLeft+"; left; echo sees $n; sleep 1000"))
	beside.expect("sees 1")
	p.say("go")
	if code := p.code(); code != 6 {
		d.t.Errorf("exit code %d, want 6; %s", code, p.stderr())
	}
	beside.wait()
}

// dockerOutOfMemory: the kernel ends the process of the command that takes too much, not
// contain, and the command goes on.
func dockerOutOfMemory(d *docker) {
	p := d.run([]string{"--memory=64m", "--memory-swap=64m"}, "/contain", "run", "--", "sh", "-c", "tail /dev/zero; echo tail $?; exit 4")
	p.expect("tail 137")
	if code := p.code(); code != 4 {
		d.t.Errorf("exit code %d, want 4; %s", code, p.stderr())
	}
}
