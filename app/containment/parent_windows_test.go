package containment_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	_ "github.com/seed329817d7/contain/strategies/windows"
)

// boundEnv is which program the launcher starts, and whether that is to die with it.
const boundEnv = "CONTAINMENT_TEST_BOUND"

func init() {
	children["announce"] = func() { announce(); time.Sleep(childLife) }
	children["launcher"] = func() {
		cmd := playing(os.Getenv(boundEnv))
		cmd.Stdin = os.Stdin
		check(cmd.Start())
		time.Sleep(childLife)
	}
	children["service"] = func() { service(false) }
	children["bound-service"] = func() { service(true) }
	children["run"] = func() { runner(false) }
	children["bound-run"] = func() { runner(true) }
}

func service(bound bool) {
	c, err := containment.Install(context.Background(), containment.Config{Strategy: "windows/job", DieWithParent: bound, Logger: slog.New(slog.DiscardHandler)})
	check(err)
	_, err = c.Start(playing("announce"))
	check(err)
	announce()
	time.Sleep(childLife)
}

func runner(bound bool) {
	announce()
	_, err := containment.Run(context.Background(), playing("announce"), containment.RunOptions{Strategy: "windows/job", RunOptions: registry.RunOptions{DieWithParent: bound}})
	check(err)
}

func playing(child string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func announce() { fmt.Println(os.Getpid()) }

// A process whose parent is terminated ends with its backend if it was asked to,
// and lives on if not.
func TestDieWithParent(t *testing.T) {
	for child, survives := range map[string]bool{"service": true, "bound-service": false, "run": true, "bound-run": false} {
		t.Run(child, func(t *testing.T) {
			cmd := command(t, "launcher")
			cmd.Env = append(cmd.Env, boundEnv+"="+child)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout, cmd.Stderr = w, os.Stderr
			err = cmd.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			procs := opened(t, bufio.NewReader(r), 2)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			// The control is watched for as long as the others took at most: they
			// end within milliseconds.
			patience := 20 * time.Second
			if survives {
				patience = 300 * time.Millisecond
			}
			if n := ended(procs, patience); survives && n != 0 || !survives && n != len(procs) {
				t.Errorf("%d of %d processes ended with the parent", n, len(procs))
			}
		})
	}
}

// opened reads n PIDs and returns handles of these processes, ended with the test.
func opened(t *testing.T, r *bufio.Reader, n int) []windows.Handle {
	t.Helper()
	handles := make([]windows.Handle, n)
	for i := range handles {
		var pid uint32
		line, err := r.ReadString('\n')
		if err == nil {
			_, err = fmt.Sscan(line, &pid)
		}
		if err == nil {
			handles[i], err = windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_TERMINATE, false, pid)
		}
		if err != nil {
			t.Fatalf("announcement %d, %q: %v", i, line, err)
		}
		t.Cleanup(func() {
			_ = windows.TerminateProcess(handles[i], 99)
			_ = windows.CloseHandle(handles[i])
		})
	}
	return handles
}

// ended returns how many end within patience.
func ended(handles []windows.Handle, patience time.Duration) (n int) {
	deadline := time.Now().Add(patience)
	for _, h := range handles {
		wait := max(0, time.Until(deadline)).Milliseconds()
		if event, _ := windows.WaitForSingleObject(h, uint32(wait)); event == windows.WAIT_OBJECT_0 {
			n++
		}
	}
	return n
}
