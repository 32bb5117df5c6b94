// Command hostinits is a service one of whose packages truncates a file, prints and
// exits when it is initialised. It starts a backend under the strategy of its first
// argument and prints what that printed. With the argument "again" it is the control. With
// "ignore" it ignores SIGCHLD, and waits for the backend's end as far as that lets it.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/app/containment/testdata/hostinits/audit"
	_ "github.com/seed329817d7/contain/strategies/all"
)

func main() {
	if _, err := audit.File.WriteString("kept\n"); err != nil {
		panic(err)
	}
	out, err := start(os.Args[1], os.Args[2])
	log, _ := os.ReadFile("audit.log")
	fmt.Printf("backend %q %v, audit %q\n", out, err, log)
}

func start(strategy, how string) (string, error) {
	cmd := exec.Command("sh", "-c", "echo ran; setsid true")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	if strategy == "again" { // as a supervisor once began
		cmd.Path = "/proc/self/exe"
		out, err := cmd.Output()
		return string(out), err
	}
	var log bytes.Buffer
	c, err := containment.Install(context.Background(), containment.Config{
		Strategy: strategy, OutliveParent: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		return "", err
	}
	way := c.Status().SupervisorWay
	fmt.Printf("by %s, logged %t\n", way, strings.Contains(log.String(), " supervisor="+way))
	defer c.Close(context.Background())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	var b *containment.Backend
	switch how {
	case "wrap":
		if b, err = c.Wrap(cmd); err == nil {
			err = cmd.Start()
		}
	case "ignore":
		signal.Ignore(syscall.SIGCHLD)
		b, err = c.Start(cmd)
	default:
		b, err = c.Start(cmd)
	}
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(stdout)
	if how == "ignore" { // so the kernel keeps no status for cmd.Wait
		select {
		case <-b.Done():
			return string(out), err
		case <-time.After(20 * time.Second):
			return "", errors.New("its end was not seen")
		}
	}
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	return string(out), err
}
