package examples

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/seed329817d7/contain/app"
	"github.com/seed329817d7/contain/app/examples/internal/drill"
)

// limit bounds every wait for something that is to happen. It judges nothing: what
// has not happened by then does not happen.
const limit = 60 * time.Second

// strategies are those that declare a tree on Linux.
var strategies = []string{"linux/subreaper", "linux/cgroup", "linux/pidns"}

// An example is a program and what it starts.
type example struct {
	name    string
	members []string // who connects, the service apart
	needs   string   // a program of Debian's
	// start, if not nil, has the service start its backend.
	start func(t *testing.T, s *service)
}

var pair = []string{"daemon", "leader"}

var all = []example{
	{name: "mcp-go-sdk", members: pair},
	{name: "mcp-go", members: pair},
	{name: "goplugin", members: pair},
	{name: "chromedp", members: pair, needs: "chromium"},
	{name: "pty", members: pair, start: func(t *testing.T, s *service) {
		s.write(t, "$SERVER wait\n")
	}},
	{name: "monitoring", members: pair},
	{name: "otel", members: pair},
	{name: "broker", members: []string{"daemon", "daemon", "leader", "leader"}},
	{name: "ci-runner", members: slices.Concat(pair, pair, pair, pair, pair, pair, pair, pair)},
}

// An event is how a service ends.
type event struct {
	name string
	make func(t *testing.T, s *service)
	// orderly: the service closes its containment.
	orderly bool
}

var events = []event{
	{name: "SIGKILL", make: func(t *testing.T, s *service) { s.signal(t, syscall.SIGKILL) }},
	{name: "panic", make: func(t *testing.T, s *service) { s.order(t, "panic") }},
	{name: "exit", make: func(t *testing.T, s *service) { s.order(t, "exit") }},
	{name: "cancel", make: func(t *testing.T, s *service) { s.signal(t, syscall.SIGINT) }, orderly: true},
	{name: "stop", make: func(t *testing.T, s *service) { s.signal(t, syscall.SIGTERM) }, orderly: true},
}

// TestNothingOutlivesTheService ends each example in each way, and counts what is
// left of what it had started. Without containment the daemon is left: the control.
func TestNothingOutlivesTheService(t *testing.T) {
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			if e.needs != "" {
				if _, err := exec.LookPath(e.needs); err != nil {
					t.Skipf("%v; .ci/run installs it", err)
				}
			}
			for _, strategy := range append(usable(t), drill.Control) {
				for _, ev := range events {
					t.Run(strings.ReplaceAll(strategy, "/", "-")+"/"+ev.name, func(t *testing.T) {
						s := start(t, e, strategy)
						ev.make(t, s)
						s.wait(t)
						if strategy != drill.Control {
							s.expectAllGone(t)
							return
						}
						if alive := s.alive(); !slices.Contains(alive, "daemon") {
							t.Errorf("without containment %q are left, and the daemon should be", alive)
						}
					})
				}
			}
		})
	}
}

// usable returns the strategies that work here.
func usable(t *testing.T) []string {
	var names []string
	for _, name := range strategies {
		c, err := app.Install(context.Background(), app.Config{Strategy: name, OutliveParent: true})
		if errors.Is(err, errors.ErrUnsupported) {
			t.Log(err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		t.Fatal("no strategy with a tree works here")
	}
	return names
}

// bin is where TestMain has built the examples and the backend.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin = os.Getenv("CONTAIN_EXAMPLES_BIN"); bin == "" {
			if bin, err = os.MkdirTemp("", "contain-examples-"); err != nil {
				panic(err)
			}
			defer os.RemoveAll(bin)
			build := exec.Command("go", "build", "-o", bin, "./...")
			if out, err := build.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("%v\n%s", err, out))
			}
		}
		return m.Run()
	}())
}

// A service is a running example.
type service struct {
	cmd    *exec.Cmd
	output syncBuffer
	input  *os.File
	socket *net.UnixListener

	ended chan struct{} // closed when the service has ended

	mu      sync.Mutex
	changed *sync.Cond
	members []*member
}

// A member is a process of the service's, or the service.
type member struct {
	name string
	conn net.Conn
	in   *bufio.Reader
}

// start starts e and returns when all that it starts is there.
func start(t *testing.T, e example, strategy string) *service {
	t.Helper()
	dir, err := os.MkdirTemp("", "drill-") // shorter than t.TempDir, as the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &service{cmd: exec.Command(filepath.Join(bin, e.name)), ended: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	if s.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.release)
	go s.accept()

	server := filepath.Join(bin, "backend")
	if e.needs == "chromium" {
		server = browser(t, dir)
	}
	s.cmd.Env = append(os.Environ(), drill.SocketEnv+"="+s.socket.Addr().String(), "STRATEGY="+strategy, "SERVER="+server, "HOME="+dir, "TMPDIR="+dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.WaitDelay = time.Second // the control's daemon may hold the streams
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if e.start != nil {
		terminal, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer tty.Close()
		raw := exec.Command("stty", "raw", "-echo") // what is written is for the terminal inside
		raw.Stdin = tty
		if err := raw.Run(); err != nil {
			t.Fatal(err)
		}
		s.input, s.cmd.Stdin, s.cmd.Stdout = terminal, tty, tty
		t.Cleanup(func() { terminal.Close() })
		s.cmd.SysProcAttr.Setsid, s.cmd.SysProcAttr.Setctty = true, true
		go func() { _, _ = s.output.ReadFrom(terminal) }()
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer s.changed.Broadcast()
		defer close(s.ended)
		_ = s.cmd.Wait()
	}()
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); <-s.ended })
	want := append([]string{"service"}, e.members...)
	s.await(t, "service")
	if e.start != nil {
		e.start(t, s)
	}
	s.await(t, want...)
	return s
}

// TestTerminal: on the terminal of a contained shell ^C, ^Z, fg and a change of size
// do what they do on any other. The control is a shell without containment.
func TestTerminal(t *testing.T) {
	for _, strategy := range append(usable(t), drill.Control) {
		t.Run(strings.ReplaceAll(strategy, "/", "-"), func(t *testing.T) {
			s := start(t, example{name: "pty", start: func(*testing.T, *service) {}}, strategy)
			// Nothing that is expected stands in what is typed, which is in the output, too.
			s.write(t, "sed -u 's/^5/got-&/'\n")
			s.insist(t, "5\n", "got-5")
			s.write(t, "\x03")
			s.insist(t, "echo back-$((1+1))\n", "back-2")
			s.write(t, "sed -u 's/^6/got-&/'\n")
			s.insist(t, "6\n", "got-6")
			s.write(t, "\x1a")
			s.insist(t, "echo stopped-$((2+2))\n", "stopped-4")
			s.write(t, "jobs\n")
			s.expect(t, "Stopped")
			s.write(t, "fg\n")
			s.insist(t, "66\n", "got-66")
			s.write(t, "\x03")
			s.insist(t, "echo again-$((3+3))\n", "again-6")
			if err := pty.Setsize(s.input, &pty.Winsize{Rows: 33, Cols: 77}); err != nil {
				t.Fatal(err)
			}
			s.write(t, "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; echo sized-$((3+4))\n")
			s.expect(t, "sized-7")
			s.write(t, "exit 0\n")
			s.wait(t)
		})
	}
}

// TestMonitoring: what the pages of a service say about it.
func TestMonitoring(t *testing.T) {
	for _, strategy := range usable(t) {
		s := start(t, example{name: "monitoring", members: pair}, strategy)
		s.expect(t, "listening on ")
		_, rest, _ := strings.Cut(s.output.String(), "listening on ")
		address, _, _ := strings.Cut(rest, "\n")
		for page, words := range map[string][]string{
			"metrics": {"contain_backends_started_total 1\n", "contain_forced_total 0\n"},
			"healthz": {`"strategy":"` + strategy + `"`, `"label":"server"`, `"state":"running"`},
		} {
			if got := get(t, "http://"+address+"/"+page); slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(got, w) }) {
				t.Errorf("%s: %s has not all of %q: %s", strategy, page, words, got)
			}
		}
		s.signal(t, syscall.SIGTERM)
		s.wait(t)
		s.expectAllGone(t)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: limit}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestOpenTelemetry: the last counts are exported after the containment was closed.
func TestOpenTelemetry(t *testing.T) {
	for _, strategy := range usable(t) {
		s := start(t, example{name: "otel", members: pair}, strategy)
		s.signal(t, syscall.SIGTERM)
		s.wait(t)
		s.expectAllGone(t)
		if got := s.output.String(); !strings.Contains(got, `"Name":"contain.backends.started"`) || !strings.Contains(got, `"Value":1`) {
			t.Errorf("%s: %s", strategy, got)
		}
	}
}

// insist writes until the output has an answer: ^C and ^Z have the terminal drop
// what has been typed and not yet been read.
func (s *service) insist(t *testing.T, text, answer string) {
	t.Helper()
	for end := time.Now().Add(limit); !strings.Contains(s.output.String(), answer); {
		if time.Now().After(end) {
			t.Fatalf("no %q in the output:\n%s", answer, s.output.String())
		}
		s.write(t, text)
		for wait := 0; wait < 100 && !strings.Contains(s.output.String(), answer); wait++ {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// expect waits for text in the output.
func (s *service) expect(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(limit); !strings.Contains(s.output.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) || s.hasEnded() && !strings.Contains(s.output.String(), text) {
			t.Fatalf("no %q in the output:\n%s", text, s.output.String())
		}
	}
}

// browser makes a program that connects, leaves a daemon and becomes Chromium. It
// refuses to without the variable that the example gives the browser.
func browser(t *testing.T, dir string) string {
	path := filepath.Join(dir, "browser")
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$GREETING\" = 'hello contain' ] || { echo 'no greeting' >&2; exit 1; }\nexec '%s/backend' exec '%s' \"$@\"\n", bin, chromium)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *service) accept() {
	for {
		conn, err := s.socket.Accept()
		if err != nil {
			return
		}
		go func() {
			m := &member{conn: conn, in: bufio.NewReader(conn)}
			name, err := m.in.ReadString('\n')
			if err != nil {
				conn.Close()
				return
			}
			m.name = strings.TrimSpace(name)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.members = append(s.members, m)
			s.changed.Broadcast()
		}()
	}
}

// await waits until members of these names have connected, and maybe more: who connects
// first is not said.
func (s *service) await(t *testing.T, names ...string) {
	t.Helper()
	timer := time.AfterFunc(limit, s.changed.Broadcast)
	defer timer.Stop()
	end := time.Now().Add(limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var got []string
		missing := slices.Clone(names)
		for _, m := range s.members {
			got = append(got, m.name)
			if i := slices.Index(missing, m.name); i >= 0 {
				missing = slices.Delete(missing, i, i+1)
			}
		}
		if len(missing) == 0 {
			return
		}
		if !time.Now().Before(end) || s.hasEnded() {
			t.Fatalf("%q have connected, and not %q; output:\n%s", got, missing, s.output.String())
		}
		s.changed.Wait()
	}
}

func (s *service) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// each calls f for every member but the service.
func (s *service) each(f func(*member)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.name != "service" {
			f(m)
		}
	}
}

func (s *service) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// order tells the service what to do.
func (s *service) order(t *testing.T, what string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.name == "service" {
			fmt.Fprintln(m.conn, what)
			return
		}
	}
	t.Fatal("the service has not connected")
}

func (s *service) write(t *testing.T, text string) {
	t.Helper()
	if _, err := s.input.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end of the service.
func (s *service) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(limit):
		t.Fatalf("the service did not end; output:\n%s", s.output.String())
	}
}

// expectAllGone waits for the end of every member.
func (s *service) expectAllGone(t *testing.T) {
	t.Helper()
	s.each(func(m *member) {
		_ = m.conn.SetReadDeadline(time.Now().Add(limit))
		if _, err := m.in.ReadByte(); os.IsTimeout(err) {
			t.Errorf("a %s is left; output:\n%s", m.name, s.output.String())
		}
	})
}

// alive returns the names of the members that answer.
func (s *service) alive() (names []string) {
	s.each(func(m *member) {
		_ = m.conn.SetDeadline(time.Now().Add(limit))
		if _, err := fmt.Fprintln(m.conn, "ping"); err != nil {
			return
		}
		if answer, err := m.in.ReadString('\n'); err == nil && answer == "alive\n" {
			names = append(names, m.name)
		}
	})
	return names
}

// release hangs up, which ends whoever is left.
func (s *service) release() {
	_ = s.socket.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		_ = m.conn.Close()
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// ReadFrom reads until f ends.
func (b *syncBuffer) ReadFrom(f *os.File) (int64, error) {
	p := make([]byte, 4096)
	for {
		n, err := f.Read(p)
		_, _ = b.Write(p[:n])
		if err != nil {
			return 0, err
		}
	}
}
