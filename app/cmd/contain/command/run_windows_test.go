package command

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// envPart makes the test binary one of the parts below.
const envPart = "CONTAIN_TEST_PART"

// partLife ends what a failed test may have left.
const partLife = time.Minute

// The parts are played by TestMain: before all is initialised, the Go runtime
// holds back what the console sends.
func init() {
	switch name := os.Getenv(envPart); name {
	case "contain":
		os.Unsetenv(envPart)
		part = Main
	case "tree", "leaver", "leaf":
		part = func() { treePart(name) }
	case "closed":
		part = closedPart
	case "locked":
		part = lockedPart
	}
}

// treePart announces itself. A tree and a leaver have a leaf away from their
// console and in a process group of its own; a leaver then exits.
func treePart(part string) {
	if part != "leaf" {
		leaf := exec.Command(os.Args[0])
		leaf.Env = append(os.Environ(), envPart+"=leaf")
		leaf.Stdout = os.Stdout
		leaf.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
		if err := leaf.Start(); err != nil {
			panic(err)
		}
	}
	fmt.Println(os.Getpid())
	if part == "leaver" {
		bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(9)
	}
	time.Sleep(partLife)
	os.Exit(0)
}

// containRun returns this binary as "contain ARGS", whose command plays part.
func containRun(part string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), envPart+"=contain")
	cmd.Stderr = os.Stderr
	if part != "" {
		// contain takes its own part out of the environment; the command's is set
		// by a shell in between, which is one more process of the tree.
		cmd.Args = append(cmd.Args, "run", "--", "cmd", "/c", "set "+envPart+"="+part+"&& "+os.Args[0])
	}
	return cmd
}

// started starts cmd and returns handles of the two processes that announce
// themselves. They are ended with the test.
func started(t *testing.T, cmd *exec.Cmd) []windows.Handle {
	t.Helper()
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	r := bufio.NewReader(out)
	var handles []windows.Handle
	for range 2 {
		var pid uint32
		if _, err := fmt.Fscan(r, &pid); err != nil {
			t.Fatalf("announcement: %v", err)
		}
		h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_TERMINATE, false, pid)
		if err != nil {
			t.Fatalf("open process %d: %v", pid, err)
		}
		t.Cleanup(func() {
			_ = windows.TerminateProcess(h, 99)
			_ = windows.CloseHandle(h)
		})
		handles = append(handles, h)
	}
	return handles
}

// alive returns how many live after patience.
func alive(handles []windows.Handle, patience time.Duration) (n int) {
	deadline := time.Now().Add(patience)
	for _, h := range handles {
		wait := max(0, time.Until(deadline)).Milliseconds()
		if event, _ := windows.WaitForSingleObject(h, uint32(wait)); event != windows.WAIT_OBJECT_0 {
			n++
		}
	}
	return n
}

const (
	endPatience = 10 * time.Second
	// settle is how long the control's survivors are watched; the others end
	// within milliseconds.
	settle = 300 * time.Millisecond
)

// TestRunTerminated: taskkill /F is TerminateProcess.
func TestRunTerminated(t *testing.T) {
	for name, contained := range map[string]bool{"contained": true, "control": false} {
		t.Run(name, func(t *testing.T) {
			cmd := containRun("tree")
			if !contained { // an owner that starts the same and contains nothing
				cmd = exec.Command("cmd", "/c", "set "+envPart+"=tree&& "+os.Args[0])
			}
			tree := started(t, cmd)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if contained {
				if n := alive(tree, endPatience); n != 0 {
					t.Errorf("%d of %d processes survive contain", n, len(tree))
				}
			} else if n := alive(tree, settle); n != len(tree) {
				t.Errorf("%d of %d processes survive, which nothing was to end", n, len(tree))
			}
		})
	}
}

// TestRunEndsLeftovers: the command exits and leaves a process behind.
func TestRunEndsLeftovers(t *testing.T) {
	for name, contained := range map[string]bool{"contained": true, "control": false} {
		t.Run(name, func(t *testing.T) {
			cmd := containRun("leaver")
			if !contained {
				cmd = exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), envPart+"=leaver")
			}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			tree := started(t, cmd)
			fmt.Fprintln(in)
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 9 {
				t.Errorf("%v, want exit code 9", err)
			}
			want, patience := 0, time.Duration(0) // gone before contain has exited
			if !contained {
				want, patience = 1, settle
			}
			if n := alive(tree, patience); n != want {
				t.Errorf("%d processes are left, want %d", n, want)
			}
		})
	}
}

func TestRunExitCodesOfItsOwn(t *testing.T) {
	notProgram := filepath.Join(t.TempDir(), "broken.exe")
	if err := os.WriteFile(notProgram, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		args []string
		want int
	}{
		{"not found", []string{"run", "--", "no-such-command"}, 127},
		{"path not found", []string{"run", "--", `C:\no\such\command.exe`}, 127},
		{"a directory", []string{"run", "--", t.TempDir()}, 126},
		{"no program", []string{"run", "--", notProgram}, 126},
		{"unknown flag", []string{"run", "--no-such-flag"}, 125},
		{"no strategy", []string{"run", "--strategy", "linux/cgroup", "--", "cmd", "/c", "exit"}, 125},
		{"the command's", []string{"run", "--", "cmd", "/c", "exit 200"}, 200},
	} {
		cmd := containRun("", tt.args...)
		cmd.Stderr = nil
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.want {
			t.Errorf("%s: %v, want exit code %d", tt.what, err, tt.want)
		}
	}
}

func TestRunExitCodeHas32Bits(t *testing.T) {
	for _, code := range []uint32{256, 0x40010004, 0xC0000005, 0xFFFFFFFF} {
		err := containRun("", "run", "--", "cmd", "/c", fmt.Sprintf("exit %d", int32(code))).Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || uint32(exit.ExitCode()) != code {
			t.Errorf("%v, want exit code %#x", err, code)
		}
	}
}

// lockedPart may not be opened by what it starts: contain with the arguments of
// this process.
func lockedPart() {
	sd, err := windows.SecurityDescriptorFromString("D:") // grants nothing to anybody
	if err != nil {
		panic(err)
	}
	dacl, _, err := sd.DACL()
	if err == nil {
		err = windows.SetSecurityInfo(windows.CurrentProcess(), windows.SE_KERNEL_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
	}
	if err != nil {
		panic(err)
	}
	cmd := containRun("", os.Args[1:]...)
	cmd.Stdout = os.Stdout
	_ = cmd.Run()
	os.Exit(cmd.ProcessState.ExitCode())
}

// TestRunParentMayNotBeOpened: services.exe is such a parent.
func TestRunParentMayNotBeOpened(t *testing.T) {
	for _, tt := range []struct {
		flags []string
		code  int
		says  string
	}{
		{nil, 7, "contain: warning: not bound to its parent"},
		{[]string{"--quiet"}, 7, ""},
		{[]string{"--die-with-parent"}, 125, "may not open its parent"},
		{[]string{"--die-with-parent=false"}, 7, ""},
	} {
		args := append(append([]string{"run"}, tt.flags...), "--", "cmd", "/c", "exit 7")
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), envPart+"=locked")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != tt.code || !strings.Contains(stderr.String(), tt.says) || tt.says == "" && stderr.Len() > 0 {
			t.Errorf("%v: exit code %d, %q; want %d, %q", tt.flags, got, &stderr, tt.code, tt.says)
		}
	}
}

// closedPart is a command that cleans up when its console is closed.
func closedPart() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println(os.Getpid())
	<-c
	fmt.Println("cleaning up")
	bufio.NewReader(os.Stdin).ReadString('\n') // until the test has seen that contain lives
	fmt.Println("cleaned up")
	os.Exit(5)
}

// closeConsole delivers CTRL_CLOSE_EVENT to a process as the system does: by a
// thread that begins in CtrlRoutine, which lies at the same address in every
// process. It returns a handle of the process, closed with the test.
func closeConsole(t *testing.T, pid uint32) windows.Handle {
	t.Helper()
	const access = windows.PROCESS_CREATE_THREAD | windows.PROCESS_VM_OPERATION | windows.PROCESS_VM_READ |
		windows.PROCESS_VM_WRITE | windows.PROCESS_QUERY_INFORMATION | windows.SYNCHRONIZE
	process, err := windows.OpenProcess(access, false, pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = windows.CloseHandle(process) })
	routine := windows.NewLazySystemDLL("kernelbase.dll").NewProc("CtrlRoutine")
	if err := routine.Find(); err != nil {
		t.Fatal(err)
	}
	create := windows.NewLazySystemDLL("kernel32.dll").NewProc("CreateRemoteThread")
	thread, _, err := create.Call(uintptr(process), 0, 0, routine.Addr(), windows.CTRL_CLOSE_EVENT, 0, 0)
	if thread == 0 {
		t.Fatalf("CreateRemoteThread: %v", err)
	}
	_ = windows.CloseHandle(windows.Handle(thread))
	return process
}

// TestRunConsoleClosed: contain stays while its command cleans up, and ends like it.
func TestRunConsoleClosed(t *testing.T) {
	cmd := containRun("closed")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	r := bufio.NewReader(out)
	var pid uint32
	if _, err := fmt.Fscanln(r, &pid); err != nil {
		t.Fatal(err)
	}
	contain := closeConsole(t, uint32(cmd.Process.Pid))
	closeConsole(t, pid)
	if line, err := r.ReadString('\n'); strings.TrimSpace(line) != "cleaning up" {
		t.Fatalf("the command says %q (%v)", line, err)
	}
	if alive([]windows.Handle{contain}, settle) == 0 {
		t.Error("contain has ended before its command")
	}
	fmt.Fprintln(in)
	if line, err := r.ReadString('\n'); strings.TrimSpace(line) != "cleaned up" {
		t.Errorf("the command says %q (%v)", line, err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("%v, want exit code 5", err)
	}
}

// TestConsoleClosedControl: a Go process that does not ask for SIGTERM ends at once.
func TestConsoleClosedControl(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envPart+"=leaf")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if alive([]windows.Handle{closeConsole(t, uint32(cmd.Process.Pid))}, endPatience) != 0 {
		t.Error("it lives on")
	}
}
