//go:build linux || windows || darwin

package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// The orders that an owner takes on its standard input, one a line. It answers
// each with a reply on its standard output, unless the order ends it.
const (
	orderStart       = "start"
	orderStartThread = "start-thread" // on an OS thread that does nothing else
	orderEndThread   = "end-thread"
	orderExit        = "exit"
	orderPanic       = "panic"
	orderKill        = "kill"       // cmd.Process.Kill
	orderCancel      = "cancel"     // the context of exec.CommandContext
	orderGroupKill   = "group-kill" // kill(-cmd.Process.Pid)
	orderClose       = "close"
)

// reply is an owner's answer: a line of JSON.
type reply struct {
	PID     int    // of the leader, as the strategy tells it
	Err     string // what failed
	Refused bool   // the strategy started nothing, and said so
	// Unsupported: the strategy does not work in the owner's circumstances.
	Unsupported bool
}

// closeLimit bounds Installation.Close in an owner.
const closeLimit = 20 * time.Second

// owner is a service in miniature.
type owner struct {
	s              *script
	channel, leash *os.File
	installation   registry.Installation // nil: plain
	cmd            *exec.Cmd
	cancel         context.CancelFunc
	endThread      func() error
}

// playOwner installs the strategy and takes orders until it is ended. When the
// driver ends, so does it.
func playOwner(s *script, own []registry.Strategy) {
	o := &owner{s: s}
	o.openInherited()
	report(o.channel, shapeOwner)
	err := o.install(own)
	answer(reply{Err: text(err), Unsupported: errors.Is(err, errors.ErrUnsupported)})
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		answer(o.obey(orders.Text()))
	}
	os.Exit(3)
}

func (o *owner) openInherited() {
	o.channel, o.leash = inherited(o.s.Channel), inherited(o.s.Leash)
}

func answer(r reply) {
	b, _ := json.Marshal(r)
	_, _ = os.Stdout.Write(append(b, '\n'))
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// install brings the owner into the state in which it starts backends.
func (o *owner) install(own []registry.Strategy) error {
	if o.s.Proc {
		if err := mountProc(); err != nil {
			return err
		}
	}
	if err := o.s.Limit.set(); err != nil {
		return err
	}
	if o.s.Strategy != "" {
		s, err := find(o.s.Strategy, own)
		if err != nil {
			return err
		}
		if o.installation, err = s.Install(context.Background(), registry.InstallOptions{}); err != nil {
			return err
		}
	}
	if o.s.DropTo != 0 {
		return dropTo(o.s.DropTo)
	}
	return nil
}

func find(name string, own []registry.Strategy) (registry.Strategy, error) {
	for _, s := range own {
		if s.Describe().Name == name {
			return s, nil
		}
	}
	return registry.Default().Lookup(name)
}

// obey carries out one order.
func (o *owner) obey(order string) reply {
	var err error
	switch order {
	case orderStart:
		return o.start()
	case orderStartThread:
		var r reply
		o.endThread = onThread(func() { r = o.start() })
		return r
	case orderEndThread:
		err = o.endThread()
	case orderExit:
		os.Exit(0)
	case orderPanic:
		panic("this drill's owner panics")
	case orderKill:
		err = o.cmd.Process.Kill()
	case orderCancel:
		o.cancel()
	case orderGroupKill:
		err = killGroup(o.cmd.Process.Pid)
	case orderClose:
		err = o.close()
	default:
		err = fmt.Errorf("no order %q", order)
	}
	return reply{Err: text(err)}
}

// start starts the backend and gives up the streams that are the backend's, so
// that their end is the end of the tree.
func (o *owner) start() reply {
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	o.cmd = exec.CommandContext(ctx, self())
	o.cmd.Args = o.s.Next.args(nonce)
	o.cmd.Stdin, o.cmd.Stdout = o.leash, o.channel
	o.cmd.SysProcAttr = backendAttr(o.s)
	pid, err := o.startCmd()
	o.leash.Close()
	o.channel.Close()
	if err != nil {
		return reply{Err: err.Error(), Refused: true}
	}
	go func() { _ = o.cmd.Wait() }()
	return reply{PID: pid}
}

func (o *owner) startCmd() (int, error) {
	if o.installation == nil {
		if err := o.cmd.Start(); err != nil {
			return 0, err
		}
		return o.cmd.Process.Pid, nil
	}
	p, err := registry.Start(o.installation, o.cmd, registry.StartOptions{})
	if err != nil {
		return 0, err
	}
	return p.PID(), nil
}

// close is what a service does at its end; one without containment kills what it knows.
func (o *owner) close() error {
	if o.installation == nil {
		return o.cmd.Process.Kill()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return o.installation.Close(ctx)
}

// playRelay stands between owner and backend in the control of an event that
// kills the supervisor.
func playRelay(s *script) {
	cmd := command(s.Next)
	report(os.Stdout, shapeRelay)
	check("start the backend", cmd.Start())
	os.Stdout.Close()
	go func() { _ = cmd.Wait() }()
	untilReleased(os.Stdin)
}

// untilReleased returns when the driver has ended.
func untilReleased(leash *os.File) { _, _ = io.Copy(io.Discard, leash) }

// playInit is process 1 of a PID namespace: it starts the owner and stays.
func playInit(s *script) {
	if s.Proc {
		check("mount /proc", mountProc())
	}
	leash := s.startOwner(func(cmd *exec.Cmd) error { return cmd.Start() })
	if s.Reap {
		go reapAll()
	}
	untilReleased(leash)
}

// playOuter is an owner whose backend is an init that starts the owner of the drill.
func playOuter(s *script, own []registry.Strategy) {
	outer, err := find(s.Strategy, own)
	check("find the outer strategy", err)
	in, err := outer.Install(context.Background(), registry.InstallOptions{})
	check("install the outer strategy", err)
	untilReleased(s.startOwner(func(cmd *exec.Cmd) error {
		_, err := registry.Start(in, cmd, registry.StartOptions{})
		return err
	}))
}

// startOwner starts what leads to the owner with this process's streams, which
// it gives up, and returns the leash.
func (s *script) startOwner(start func(*exec.Cmd) error) (leash *os.File) {
	channel, leash := inherited(s.Channel), inherited(s.Leash)
	cmd := &exec.Cmd{Path: self(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	s.Next.Channel, s.Next.Leash = pass(cmd, channel), pass(cmd, leash)
	cmd.Args = s.Next.args(nonce)
	check("start the owner", start(cmd))
	for _, f := range []*os.File{channel, os.Stdin, os.Stdout} {
		f.Close()
	}
	return leash
}
