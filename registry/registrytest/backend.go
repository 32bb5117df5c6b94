package registrytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A contained is a started backend of a trial. Its processes hold the writing end of out.
type contained struct {
	registry.Process
	cmd   *exec.Cmd
	leash *os.File // the last of its processes ends when this does
	lines chan string
	// status has what cmd.Wait returns, once over has been called.
	status chan error
}

const (
	backendMark  = "contain-registrytest-backend"
	backendArgv0 = "contain-backend"
	backendEnv   = "CONTAIN_REGISTRYTEST"
	backendCode  = 7
)

// playBackend makes this process one of a trial's, and returns at once in any other. It
// goes by an argument, since a launcher may change argv[0].
func playBackend(own []registry.Strategy) {
	if len(os.Args) < 3 || os.Args[1] != backendMark {
		return
	}
	switch os.Args[2] {
	case "family": // a leader that leaves a process behind
		child := exec.Command(self(), backendMark, "child")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
		_ = child.Process.Release()
	case "report": // what somebody has made of the command
		dir, _ := os.Getwd()
		fmt.Printf("report %s %s %s\n", strings.Join(os.Args[3:], ","), os.Getenv(backendEnv), dir)
	case "suicide":
		p, _ := os.FindProcess(os.Getpid())
		_ = p.Kill()
		select {}
	case "run":
		playRunner(own, os.Args[3], os.Args[4], os.Args[5])
	default:
		fmt.Println("ready " + os.Args[0])
		_, _ = io.Copy(io.Discard, os.Stdin)
		fmt.Println("over")
	}
	os.Exit(backendCode)
}

func self() string {
	path, _ := os.Executable()
	return strings.TrimSuffix(path, " (deleted)")
}

// command returns one that becomes a backend, and what will be known of it.
func (t *trial) command(mode string) (*contained, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	leashR, leashW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b := &contained{leash: leashW, lines: make(chan string, 8)}
	b.cmd = exec.CommandContext(t.ctx, self())
	b.cmd.Args = []string{backendArgv0, backendMark, mode}
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr = leashR, w, os.Stderr
	go func() {
		defer close(b.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			b.lines <- s.Text()
		}
	}()
	t.cleanup = append(t.cleanup, func() {
		_, _ = leashW.Close(), w.Close()
		if b.cmd.Process != nil && b.cmd.ProcessState == nil {
			_ = b.cmd.Process.Kill()
			_ = b.over()
		}
		_, _ = leashR.Close(), r.Close()
	})
	return b, nil
}

// let gives up this process's ends, so that the end of lines is that of the backend.
func (b *contained) let() {
	_ = b.cmd.Stdin.(*os.File).Close()
	_ = b.cmd.Stdout.(*os.File).Close()
}

// start starts a backend and waits until its last process is ready.
func (t *trial) start(mode string, opts registry.StartOptions) (*contained, error) {
	b, err := t.command(mode)
	if err != nil {
		return nil, err
	}
	if b.Process, err = registry.Start(t.in, b.cmd, opts); err != nil {
		return nil, err
	}
	b.let()
	if b.Process == nil || b.cmd.Process == nil {
		return nil, fmt.Errorf("Start returned Process %v and no error, and cmd.Process is %v", b.Process, b.cmd.Process)
	}
	line, err := b.line()
	if err == nil && !strings.HasPrefix(line, "ready ") {
		err = fmt.Errorf("the backend said %q", line)
	}
	return b, err
}

// line returns the backend's next line, "" if all its processes have ended.
func (b *contained) line() (string, error) {
	select {
	case line := <-b.lines:
		return line, nil
	case <-time.After(patience):
		return "", errors.New("the backend does not say anything")
	}
}

// gone waits until Done is closed, and sees whether that is true. A member that were
// alive would be heard to end only later.
func (b *contained) gone() error {
	select {
	case <-b.Done():
	case <-time.After(patience):
		members, err := b.Members()
		return fmt.Errorf("Done is not closed; members: %v, %v", members, err)
	}
	for {
		if line, err := b.line(); err != nil || line == "" {
			return err
		}
	}
}

// none is gone for a backend whose leader has left a process behind, which would say so.
func (b *contained) none() error {
	select {
	case <-b.Done():
	case <-time.After(patience):
		members, err := b.Members()
		return fmt.Errorf("Done is not closed; members: %v, %v", members, err)
	}
	return b.silent()
}

// silent says whether a process lives that would end only now.
func (b *contained) silent() error {
	_ = b.leash.Close()
	for {
		switch line, err := b.line(); {
		case err != nil || line == "":
			return err
		case line == "over":
			return errors.New("a process lives that should have been ended")
		}
	}
}

// over waits for the leader's status.
func (b *contained) over() error {
	if b.status == nil { // a second Wait, after one that did not return, would not either
		b.status = make(chan error, 1)
		go func() { b.status <- b.cmd.Wait() }()
	}
	select {
	case err := <-b.status:
		return err
	case <-time.After(patience):
		return errors.New("cmd.Wait does not return")
	}
}

// closed is gone for a backend whose installation says that it has closed.
func (b *contained) closed() error {
	if !b.done() {
		return errors.New("Close has returned without an error while Done is open")
	}
	return b.gone()
}

func (b *contained) ends() bool {
	select {
	case <-b.Done():
		return true
	case <-time.After(patience):
		return false
	}
}

func (b *contained) done() bool {
	select {
	case <-b.Done():
		return true
	default:
		return false
	}
}
