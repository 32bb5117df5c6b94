package command

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// demo is what is typed, and shown in README's picture. What bash says about its jobs is
// left out of that.
var demo = [2]struct {
	title string
	lines [3]string
}{
	{"without contain", [3]string{"./broker &", "kill -9 $!", "pidof tool-server || echo gone"}},
	{"with contain", [3]string{"contain run -- ./broker &", "kill -9 $!", "pidof tool-server || echo gone"}},
}

// TestPicture: README's picture is what a terminal shows. With -update it is drawn anew.
func TestPicture(t *testing.T) {
	if _, err := exec.LookPath("pidof"); err != nil {
		t.Skip("needs pidof")
	}
	s := &setting{t: t, bin: containBinary(t)}
	dir := filepath.Dir(s.bin)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	sleep, _ = filepath.EvalSymlinks(sleep)
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(dir, "tool-server")
	if filepath.Base(sleep) != "sleep" { // one program for many names, which looks at its own
		t.Skipf("sleep is %s", sleep)
	}
	if err := os.WriteFile(server, b, 0o755); err != nil {
		t.Fatal(err)
	}
	broker := fmt.Sprintf("#!/bin/sh\nsetsid %s 1000 <&- >&- 2>&- &\nwhile :; do sleep 1000; done\n", server)
	if err := os.WriteFile(filepath.Join(dir, "broker"), []byte(broker), 0o755); err != nil {
		t.Fatal(err)
	}
	var shown [2]string
	for i, d := range demo {
		shown[i] = s.play(dir, server, d.lines, i == 0)
	}
	if _, err := strconv.Atoi(shown[0]); err != nil || shown[1] != "gone" {
		t.Fatalf("pidof says %q", shown)
	}
	shown[0] = "4711" // it is another each time
	const file = "../../../../.docs/kill.svg"
	want := picture(shown)
	if *update {
		writeFile(t, file, want)
	} else if have, err := os.ReadFile(file); err != nil || string(have) != want {
		t.Errorf("%s is not current (%v); run go test ./app/cmd/contain/command -run TestPicture -update", file, err)
	}
}

// play types the lines into a shell, and returns what the last one says.
func (s *setting) play(dir, server string, lines [3]string, survives bool) string {
	t := s.t
	live := newLiveness(t)
	defer func() {
		live.w.Close()
		live.end()
		live.r.Close()
	}()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	cmd := live.carry(s.command(bash, "--norc", "--noprofile", "--noediting", "-i"))
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
	tt := onTerminal(t, cmd)
	tt.expect("<prompt>")
	servers := func() (n int) {
		for _, pid := range live.holders() {
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe == server {
				n++
			}
		}
		return n
	}
	tt.write(lines[0] + "\n")
	tt.expect("<prompt>")
	eventually(t, "the tool server runs", func() bool { return servers() == 1 })
	tt.write(lines[1] + "\n")
	tt.expect("<prompt>")
	if survives {
		eventually(t, "the broker is gone", func() bool { return len(live.holders()) <= 3 }) // bash, its sleep, the server
	} else {
		eventually(t, "the tool server is gone", func() bool { return servers() == 0 })
	}
	tt.write(lines[2] + "\n")
	said := tt.expect("<prompt>")
	tt.write("exit\n")
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "[1]") {
			return line
		}
	}
	return ""
}

// picture draws what was typed and shown, legible on a light and on a dark page.
func picture(shown [2]string) string {
	const width, height, line = 340, 120, 20
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="monospace" font-size="14">
<title>After kill -9 of a broker, the tool server that it started lives on; under contain run it is gone.</title>
<style>text{fill:#1f2328;white-space:pre}.title{font-family:sans-serif;font-weight:bold}.box{fill:none;stroke:#8c959f}.prompt{fill:#8c959f}.bad{fill:#cf222e;font-weight:bold}.good{fill:#1a7f37;font-weight:bold}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.bad{fill:#ff7b72}.good{fill:#3fb950}}</style>
`, 2*width+10, height, 2*width+10, height)
	for i, d := range demo {
		x := i * (width + 10)
		fmt.Fprintf(&b, "<text class=\"title\" x=\"%d\" y=\"16\">%s</text><rect class=\"box\" x=\"%d\" y=\"24\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", x+4, d.title, x+1, width-2, height-26)
		for n, typed := range d.lines {
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\"><tspan class=\"prompt\">$ </tspan>%s</text>\n", x+12, 44+n*line, html.EscapeString(typed))
		}
		class := "good"
		if shown[i] != "gone" {
			class = "bad"
		}
		fmt.Fprintf(&b, "<text class=\"%s\" x=\"%d\" y=\"%d\">%s</text>\n", class, x+12, 44+3*line, html.EscapeString(shown[i]))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
