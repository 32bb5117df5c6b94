//go:build unix

package containment_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest"
)

func init() {
	children["parent"] = func() { // of the program that innerEnv names
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+os.Getenv(innerEnv))
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
		}
		_ = cmd.Wait()
	}
	children["unbound"] = func() { onLeash("unbound") }
	children["bound"] = func() { bound(context.Background(), containment.ParentOptions{}) }
	children["bound-caught"] = func() {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, syscall.SIGUSR1)
		go func() { <-caught; fmt.Println("caught"); os.Exit(0) }()
		bound(context.Background(), containment.ParentOptions{Signal: syscall.SIGUSR1})
	}
	children["bound-callback"] = func() {
		bound(context.Background(), containment.ParentOptions{OnExit: func() { fmt.Println("called"); os.Exit(0) }})
	}
	children["bound-config"] = func() {
		cfg := using(new(registrytest.Fake)) // which does not bind
		cfg.DieWithParent = true
		said := "bound"
		c, err := containment.Install(context.Background(), cfg)
		if err == nil {
			err = c.Close(context.Background()) // which changes nothing
		}
		if err != nil {
			said = err.Error()
		}
		cfg.DieWithParent, cfg.OutliveParent = false, true
		if _, err := containment.Install(context.Background(), cfg); !errors.Is(err, registry.ErrConflict) {
			said = fmt.Sprintf("another choice: %v", err)
		}
		onLeash(said)
	}
	children["bound-no-more"] = func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancelLater = cancel
		bound(ctx, containment.ParentOptions{})
	}
}

var cancelLater = func() {}

func bound(ctx context.Context, opts containment.ParentOptions) {
	said := "bound"
	if err := containment.DieWithParent(ctx, opts); err != nil {
		said = err.Error()
	}
	cancelLater()
	onLeash(said)
}

// onLeash runs until the test lets go of its standard input.
func onLeash(said string) {
	fmt.Println(said)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestDieWithParentFunction: a program that asks to ends when its parent is SIGKILLed, as it asked to.
// The controls, which have not asked or have taken it back, live on.
func TestDieWithParentFunction(t *testing.T) {
	for _, tt := range []struct {
		child, last string
		lives       bool
	}{
		{child: "unbound", last: "unbound\n", lives: true},
		{child: "bound-no-more", last: "bound\n", lives: true},
		{child: "bound", last: "bound\n"},
		{child: "bound-caught", last: "bound\ncaught\n"},
		{child: "bound-config", last: "bound\n"},
		{child: "bound-callback", last: "bound\ncalled\n"},
	} {
		t.Run(tt.child, func(t *testing.T) {
			cmd := command(t, "parent")
			cmd.Env = append(cmd.Env, innerEnv+"="+tt.child)
			leash, hold, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			out, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd.Stdin, cmd.Stdout = leash, w
			err = cmd.Start()
			leash.Close()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			said := bufio.NewReader(out)
			first, err := said.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if tt.lives {
				_ = out.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // more only makes a failure more certain
				if _, err := said.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("it has ended with its parent: %v", err)
				}
				hold.Close()
			}
			_ = out.SetReadDeadline(time.Now().Add(childLife))
			rest, err := io.ReadAll(said) // ends when nobody holds the other end any more
			if err != nil {
				t.Errorf("it has not ended: %v", err)
			}
			if got := first + string(rest); got != tt.last {
				t.Errorf("said %q, want %q", got, tt.last)
			}
		})
	}
}

func TestDieWithParentRefuses(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := containment.DieWithParent(over, containment.ParentOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	err := containment.DieWithParent(t.Context(), containment.ParentOptions{Signal: syscall.SIGTERM, OnExit: func() {}})
	if err == nil || !strings.Contains(err.Error(), "contradict") {
		t.Errorf("both: %v", err)
	}
	if err := containment.DieWithParent(t.Context(), containment.ParentOptions{Signal: syscall.Signal(0)}); err == nil {
		t.Error("signal 0 was taken")
	}
}
