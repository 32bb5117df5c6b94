package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A recipe of .docs/recipes.md makes, from its text there, a command that runs leak, a script that
// leaves a daemon. plain is the text without contain.
type recipe func(t *testing.T, dir, text, leak string) *exec.Cmd

var recipes = map[string]struct {
	needs string
	make  recipe
	plain func(text string) string
}{
	"mcp": {make: func(t *testing.T, _, text, leak string) *exec.Cmd {
		var cfg struct {
			Servers map[string]struct {
				Command string
				Args    []string
			} `json:"mcpServers"`
		}
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		server := cfg.Servers["files"]
		own := len(server.Args)
		for i, arg := range server.Args {
			if arg == "npx" {
				own = i
			}
		}
		if server.Command == "npx" {
			return exec.Command(leak)
		}
		return exec.Command(server.Command, append(server.Args[:own], leak)...)
	}, plain: func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, `"contain"`, `"npx"`), `"run", "--", "npx", `, "")
	}},
	"gotest": {needs: "go", make: func(t *testing.T, dir, text, leak string) *exec.Cmd {
		put(t, dir, "go.mod", "module leaky\n\ngo 1.26\n")
		put(t, dir, "leaky_test.go", fmt.Sprintf("package leaky\n\nimport (\n\t\"os/exec\"\n\t\"testing\"\n)\n\n"+
			"func Test(t *testing.T) {\n\tif err := exec.Command(%q).Run(); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n", leak))
		return exec.Command("sh", "-c", text)
	}, plain: func(text string) string { return strings.ReplaceAll(text, "-exec 'contain run --'", "") }},
	"make": {needs: "make", make: func(t *testing.T, dir, text, leak string) *exec.Cmd {
		put(t, dir, "Makefile", text+"\nall:\n\t"+leak+"\n")
		return exec.Command("make")
	}, plain: func(string) string { return "" }},
	"npm": {needs: "npm", make: func(t *testing.T, dir, text, leak string) *exec.Cmd {
		put(t, dir, "package.json", strings.ReplaceAll(text, "node server.js", leak))
		cmd := exec.Command("npm", "start", "--offline", "--no-update-notifier")
		cmd.Env = append(os.Environ(), "HOME="+dir)
		return cmd
	}, plain: func(text string) string { return strings.ReplaceAll(text, "contain run -- ", "") }},
	"cron": {make: func(t *testing.T, _, text, leak string) *exec.Cmd {
		_, line, _ := strings.Cut(text, "* * * * ")
		cmd := exec.Command("/bin/sh", "-c", strings.ReplaceAll(line, "/usr/local/bin/job", leak)) // as cron(8) does
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
		return cmd
	}, plain: func(text string) string { return strings.ReplaceAll(text, "contain run --grace 30s -- ", "") }},
	"ssh": {needs: "sshd", make: overSSH, plain: func(text string) string { return strings.ReplaceAll(text, "contain run -- ", "") }},
	"ci": {needs: "bash", make: func(t *testing.T, _, text, leak string) *exec.Cmd {
		_, step, _ := strings.Cut(text, "- run: ")
		// https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
		return exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", strings.ReplaceAll(step, "./integration-tests.sh", leak))
	}, plain: func(text string) string { return strings.ReplaceAll(text, "contain run --grace 10s -- ", "") }},
}

// overSSH connects to a server that lives for as long as the connection, which is a pipe.
func overSSH(t *testing.T, dir, text, leak string) *exec.Cmd {
	if os.Geteuid() != 0 {
		t.Skip("a server that lets somebody in needs root")
	}
	sshd, err := exec.LookPath("sshd") // it wants to be called by its whole path
	if err != nil {
		t.Fatal(err)
	}
	if os.Mkdir("/run/sshd", 0o755) == nil { // where Debian's changes its root to; it is there if the server is in use
		t.Cleanup(func() { _ = os.Remove("/run/sshd") })
	}
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	put(t, dir, "sshd_config", fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/user.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv PATH=%[2]s\n", dir, os.Getenv("PATH")))
	put(t, dir, "ssh_config", fmt.Sprintf("Host host\nUser root\nIdentityFile %[1]s/user\nIdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"+
		"ProxyCommand %[2]s -i -f %[1]s/sshd_config\n", dir, sshd))
	if out, err := exec.Command("ssh", "-F", dir+"/ssh_config", "host", "true").CombinedOutput(); err != nil {
		t.Skipf("root cannot log in here: %v\n%s", err, out)
	}
	return exec.Command("sh", "-c", strings.NewReplacer("ssh host", "ssh -F "+dir+"/ssh_config host", "./job", leak).Replace(text))
}

// TestRecipes: what a recipe leaves ends with it. The control is the same without contain.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile("../../../../.docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)<!-- recipe: (\\w+) -->\n```\\w*\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		texts[m[1]] = m[2]
	}
	if len(texts) != len(recipes) {
		t.Errorf("%d recipes in the page, %d here", len(texts), len(recipes))
	}
	bin := filepath.Dir(containBinary(t))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, r := range recipes {
		for _, contained := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/contained=%v", name, contained), func(t *testing.T) {
				if r.needs != "" {
					if _, err := exec.LookPath(r.needs); err != nil {
						t.Skip(err)
					}
				}
				text := texts[name]
				if !contained {
					if text = r.plain(text); text == texts[name] {
						t.Fatal("the control is the recipe")
					}
				}
				dir := t.TempDir()
				alive, end := leaky(t, dir)
				cmd := r.make(t, dir, text, filepath.Join(dir, "leak"))
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", cmd, err, out)
				}
				alive(!contained)
				end()
			})
		}
	}
}

// leaky makes dir/leak. alive fails the test unless the daemon that it leaves lives or has
// ended, as is wanted; end ends it.
func leaky(t *testing.T, dir string) (alive func(want bool), end func()) {
	t.Helper()
	leash, out := filepath.Join(dir, "leash"), filepath.Join(dir, "out")
	for _, fifo := range []string{leash, out} {
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "leak", fmt.Sprintf("#!/bin/sh\nsetsid sh -c 'echo up >&3; exec cat %s' </dev/null >/dev/null 2>&1 3>%s &\n"+
		"read -r up <%s.up\n", leash, out, out))
	if err := unix.Mkfifo(out+".up", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "leak"), 0o755); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(leash, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	r, err := os.OpenFile(out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	up := make(chan error, 1)
	said := bufio.NewReader(r)
	go func() { // the leader ends only when the daemon runs
		var err error
		for line := []byte(nil); !bytes.Equal(line, []byte("up\n")); {
			if line, err = said.ReadBytes('\n'); errors.Is(err, os.ErrClosed) {
				return // the test is over
			} else if err != nil {
				time.Sleep(time.Millisecond) // nobody has opened it yet
			}
		}
		up <- os.WriteFile(out+".up", []byte("up\n"), 0)
	}()
	return func(want bool) {
			t.Helper()
			select {
			case err := <-up:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(deadline):
				t.Fatal("no daemon has said that it runs")
			}
			limit := deadline
			if want {
				limit = 300 * time.Millisecond // more only makes a failure more certain
			}
			_ = r.SetReadDeadline(time.Now().Add(limit))
			_, err := said.ReadByte()
			if lives := errors.Is(err, os.ErrDeadlineExceeded); lives != want {
				t.Errorf("the daemon lives: %v, want %v (%v)", lives, want, err)
			}
		}, func() {
			hold.Close()
			_ = r.SetReadDeadline(time.Now().Add(deadline))
			if _, err := said.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the daemon does not end")
			}
		}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
