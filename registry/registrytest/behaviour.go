package registrytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed329817d7/contain/registry"
)

// A behaviour is something that every strategy does alike, whatever it guarantees.
type behaviour struct {
	name  string
	about string // what is wrong if it fails
	check func(*trial) error
}

// behaviours are in the order in which they are tried: what the later ones rely on
// comes first.
var behaviours = []behaviour{
	{"launcher", "the command's argv[0] and arguments reach the backend, which is this executable itself and nothing that launches it", isNoLauncher},
	{"members", "a backend that runs has a PID, is its own member, and is not done", hasMembers},
	{"command", "Start gives the command back as it was, and sets Process as os/exec does", givesCommandBack},
	{"status", "Done is closed when nothing is left, waited for or not, and cmd.Wait has the leader's exit code", hasStatus},
	{"end", "after the end Signal returns os.ErrProcessDone, there are no members, and to kill once more is no failure", endsForGood},
	{"kill", "Kill ends a backend, and may be called by several at once", kills},
	{"terminate", "Terminate asks a backend to end, or says that it cannot", terminates},
	{"context", "the end of the command's context ends the backend", heedsContext},
	{"missing", "a program that is not there gives the error of os/exec, and no process", missesProgram},
	{"leader-exit", "what the leader leaves is killed, waited for, let go or asked to end, as Start was told, or Start refuses", heedsLeaderExit},
	{"breakaway", "a command that is to break away is refused, or done from the beginning", breaksAway},
	{"close", "Close ends every backend, may be called again, and nothing is started or wrapped after it", closes},
	{"close-expired", "a Close that gave up can be finished by another", closesLater},
	{"close-during-start", "a Close during Start returns with its context, and what was being started is ended or refused", closesDuringStart},
	{"close-at-once", "several may call Close at the same time", closesAtOnce},
	{"install-cancelled", "Install with a context that is done returns the context's error, and nothing is in force", heedsInstallContext},
	{"wrap", "a wrapped command is contained by a plain Start, and cannot start after Close", wraps},
}

// Test holds a strategy to what the interfaces say of every strategy, in this
// process, unbound from its parent: Strategy, Installation, Process and Wrapper. It
// returns what is wrong, one line for each, or nil; it wraps errors.ErrUnsupported
// where s does not work here. The program calls [Main] first, as for [Run], which
// also holds the drills.
func Test(ctx context.Context, s registry.Strategy) error {
	if err := registry.Probe(ctx, s); err != nil {
		return err
	}
	var errs []error
	for _, b := range behaviours {
		err := b.try(ctx, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", b.name, b.about, err))
		}
		if err != nil && b.name == "launcher" {
			break // the others would wait for a backend that never is one
		}
	}
	return errors.Join(errs...)
}

// patience bounds each wait for something that must happen. It does not judge how
// long that takes: it is for strategies under which it never does.
const patience = 30 * time.Second

// A trial is one behaviour being tried, with an installation of its own.
type trial struct {
	ctx     context.Context
	s       registry.Strategy
	in      registry.Installation
	cleanup []func()
}

var unbound = registry.InstallOptions{OutliveParent: true}

func (b behaviour) try(ctx context.Context, s registry.Strategy) (err error) {
	in, err := s.Install(ctx, unbound)
	if err != nil || in == nil {
		return fmt.Errorf("Install, after a Probe without an error: %v, %w", in, err)
	}
	t := &trial{ctx: ctx, s: s, in: in}
	defer func() {
		for _, f := range slices.Backward(t.cleanup) {
			f()
		}
	}()
	err = b.check(t)
	if closeErr := t.close(patience); err == nil && closeErr != nil {
		err = fmt.Errorf("Close at the end: %w", closeErr)
	}
	return err
}

func (t *trial) close(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), limit)
	defer cancel()
	return t.in.Close(ctx)
}

// A contained is a started backend of a trial. Its processes hold the writing end of out.
type contained struct {
	registry.Process
	cmd   *exec.Cmd
	leash *os.File // the last of its processes ends when this does
	lines chan string
}

const (
	backendMark  = "contain-registrytest-backend"
	backendArgv0 = "contain-backend"
	backendCode  = 7
)

// playBackend makes this process one of a trial's, and returns at once in any other. It
// goes by an argument, since a launcher may change argv[0].
func playBackend() {
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
			_ = b.cmd.Wait()
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
	if b.Process, err = t.in.Start(b.cmd, opts); err != nil {
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

// over waits for the leader's status.
func (b *contained) over() error {
	status := make(chan error, 1)
	go func() { status <- b.cmd.Wait() }()
	select {
	case err := <-status:
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

func (b *contained) done() bool {
	select {
	case <-b.Done():
		return true
	default:
		return false
	}
}

func isNoLauncher(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = t.in.Start(b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	b.let()
	line, err := b.line()
	if err != nil || line != "ready "+backendArgv0 {
		return fmt.Errorf("it said %q, %w; a strategy that starts backends through another program cannot be tested by this kit", line, err)
	}
	return nil
}

func hasMembers(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	members, err := b.Members()
	if b.PID() <= 0 || err != nil || b.done() ||
		!slices.ContainsFunc(members, func(m registry.Member) bool { return m.PID == b.PID() }) {
		return fmt.Errorf("PID %d, members %v (%v), done: %v", b.PID(), members, err, b.done())
	}
	return nil
}

func givesCommandBack(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	b.cmd.Env, b.cmd.Dir = os.Environ(), os.TempDir()
	before := *b.cmd
	if b.Process, err = t.in.Start(b.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	for field, pair := range map[string][2]any{
		"Path": {before.Path, b.cmd.Path}, "Args": {before.Args, b.cmd.Args}, "Env": {before.Env, b.cmd.Env}, "Dir": {before.Dir, b.cmd.Dir},
		"Stdin": {before.Stdin, b.cmd.Stdin}, "Stdout": {before.Stdout, b.cmd.Stdout}, "Stderr": {before.Stderr, b.cmd.Stderr},
		"ExtraFiles": {before.ExtraFiles, b.cmd.ExtraFiles}, "SysProcAttr": {before.SysProcAttr, b.cmd.SysProcAttr}, "Err": {before.Err, b.cmd.Err},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			return fmt.Errorf("%s is %v, was %v", field, pair[1], pair[0])
		}
	}
	b.let()
	if b.cmd.Process == nil {
		return errors.New("cmd.Process is nil")
	}
	if _, err := t.in.Start(b.cmd, registry.StartOptions{}); err == nil {
		return errors.New("it can be started again")
	}
	return nil
}

func hasStatus(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	_ = b.leash.Close()
	if err := b.gone(); err != nil {
		return err
	}
	var exit *exec.ExitError
	if err := b.over(); !errors.As(err, &exit) || exit.ExitCode() != backendCode {
		return fmt.Errorf("cmd.Wait: %v, want exit code %d", err, backendCode)
	}
	return nil
}

func endsForGood(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	_ = b.leash.Close()
	if err := b.gone(); err != nil {
		return err
	}
	for _, when := range []string{"before", "after"} {
		if err := b.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("Signal %s cmd.Wait: %v", when, err)
		}
		for what, end := range map[string]func() error{"Kill": b.Kill, "Terminate": b.Terminate} {
			if err := end(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("%s %s cmd.Wait: %w", what, when, err)
			}
		}
		if members, err := b.Members(); len(members) > 0 || err != nil {
			return fmt.Errorf("Members %s cmd.Wait: %v, %v", when, members, err)
		}
		if when == "before" {
			_ = b.over()
		}
	}
	return nil
}

func kills(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = b.Kill() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if err := b.gone(); err != nil {
		return err
	}
	if err := b.over(); err == nil || b.cmd.ProcessState.ExitCode() == backendCode {
		return fmt.Errorf("cmd.Wait: %v, want a violent death", err)
	}
	return nil
}

func terminates(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	if err := b.Terminate(); errors.Is(err, errors.ErrUnsupported) {
		return nil // Windows has no SIGTERM
	} else if err != nil {
		return err
	}
	_ = b.over()
	return b.gone()
}

func heedsContext(t *trial) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	before := t.ctx
	t.ctx = ctx
	b, err := t.start("plain", registry.StartOptions{})
	t.ctx = before
	if err != nil {
		return err
	}
	cancel()
	_ = b.over()
	return b.gone()
}

func missesProgram(t *trial) error {
	cmd := exec.Command(self() + "-that-is-not-there")
	p, err := t.in.Start(cmd, registry.StartOptions{})
	if p != nil || cmd.Process != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) { // which Windows says
		return fmt.Errorf("Start: %v, %v; cmd.Process is %v", p, err, cmd.Process)
	}
	return nil
}

func heedsLeaderExit(t *trial) error {
	g, ok := t.s.Describe().Guarantee(registry.EventLeaderExit)
	if !ok || g.Reach != registry.ReachTree {
		return nil
	}
	for _, what := range []registry.LeaderExit{registry.LeaderExitKill, registry.LeaderExitWait, registry.LeaderExitLeave, registry.LeaderExitTerm} {
		if err := t.leaderExits(what); err != nil {
			return fmt.Errorf("%v: %w", what, err)
		}
	}
	return nil
}

func (t *trial) leaderExits(what registry.LeaderExit) error {
	b, err := t.command("family")
	if err != nil {
		return err
	}
	b.Process, err = t.in.Start(b.cmd, registry.StartOptions{OnLeaderExit: what, Grace: patience})
	if what != registry.LeaderExitKill && (errors.Is(err, registry.ErrNotPassed) || errors.Is(err, errors.ErrUnsupported)) {
		return nil
	}
	if err != nil {
		return err
	}
	b.let()
	if err := b.over(); b.cmd.ProcessState.ExitCode() != backendCode {
		return fmt.Errorf("the leader: %w", err)
	}
	switch what {
	case registry.LeaderExitKill, registry.LeaderExitTerm:
		return b.gone()
	case registry.LeaderExitWait:
		if line, err := b.line(); err != nil || !strings.HasPrefix(line, "ready ") {
			return fmt.Errorf("what was left behind said %q, %w", line, err)
		}
		if b.done() {
			return errors.New("Done is closed while a process lives")
		}
		_ = b.leash.Close()
		if line, err := b.line(); err != nil || line != "over" {
			return fmt.Errorf("what was left behind did not end by itself: %q, %w", line, err)
		}
		return b.gone()
	}
	select {
	case <-b.Done():
	case <-time.After(patience):
		return errors.New("Done is not closed")
	}
	_ = b.leash.Close()
	for {
		switch line, err := b.line(); {
		case err != nil || line == "":
			return fmt.Errorf("what was let go did not end by itself, %w", err)
		case line == "over":
			return nil
		}
	}
}

func breaksAway(t *trial) error {
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	b.Process, err = t.in.Start(b.cmd, registry.StartOptions{Breakaway: true})
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		return nil
	}
	b.let()
	if !b.done() {
		return errors.New("it is a backend")
	}
	if err := t.close(patience); err != nil {
		return err
	}
	_ = b.leash.Close()
	var exit *exec.ExitError
	if err := b.over(); !errors.As(err, &exit) || exit.ExitCode() != backendCode {
		return fmt.Errorf("after Close: %v, want that it lives on", err)
	}
	return nil
}

func closes(t *trial) error {
	var bs []*contained
	for range 2 {
		b, err := t.start("plain", registry.StartOptions{})
		if err != nil {
			return err
		}
		bs = append(bs, b)
	}
	for range 2 {
		if err := t.close(patience); err != nil {
			return err
		}
	}
	for _, b := range bs {
		if err := b.closed(); err != nil {
			return err
		}
	}
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if p, err := t.in.Start(b.cmd, registry.StartOptions{}); p != nil || !errors.Is(err, registry.ErrClosed) || b.cmd.Process != nil {
		return fmt.Errorf("Start after Close: %v, %v", p, err)
	}
	if w, ok := t.in.(registry.Wrapper); ok {
		if _, err := w.Wrap(exec.Command(self()), registry.StartOptions{}); !errors.Is(err, registry.ErrClosed) {
			return fmt.Errorf("Wrap after Close: %v", err)
		}
	}
	return nil
}

func closesLater(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	if err := t.close(-1); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if err := t.close(patience); err != nil {
		return err
	}
	return b.closed()
}

// duringStart is a context that runs a function when exec.Cmd.Start first asks whether
// it is done, which is before it forks.
type duringStart struct {
	context.Context
	run   func()
	asked atomic.Bool
}

func (d *duringStart) Done() <-chan struct{} {
	if !d.asked.Swap(true) {
		d.run()
	}
	return d.Context.Done()
}

func closesDuringStart(t *trial) error {
	returned := make(chan error, 1)
	ctx := &duringStart{Context: t.ctx}
	ctx.run = func() {
		go func() { returned <- t.close(-1) }()
		select {
		case err := <-returned:
			returned <- err
		case <-time.After(patience):
		}
	}
	before := t.ctx
	t.ctx = ctx
	b, err := t.command("plain")
	t.ctx = before
	if err != nil {
		return err
	}
	b.Process, err = t.in.Start(b.cmd, registry.StartOptions{})
	b.let()
	if !ctx.asked.Load() { // it does not start by exec.Cmd, or not this one
		return nil
	}
	select {
	case err := <-returned:
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("Close during Start: %w", err)
		}
	default:
		return errors.New("Close does not return with its context")
	}
	if err != nil && !errors.Is(err, registry.ErrClosed) {
		return fmt.Errorf("Start: %w", err)
	}
	if err != nil {
		for {
			if line, err := b.line(); err != nil || line == "" {
				return err // of line: nothing is left
			}
		}
	}
	if err := t.close(patience); err != nil {
		return err
	}
	return b.closed()
}

func closesAtOnce(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = t.close(patience) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return b.closed()
}

func heedsInstallContext(t *trial) error {
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	in, err := t.s.Install(ctx, unbound)
	if in != nil || !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Install: %v, %v", in, err)
	}
	return nil
}

func wraps(t *trial) error {
	w, ok := t.in.(registry.Wrapper)
	if !ok {
		return nil
	}
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if b.Process, err = w.Wrap(b.cmd, registry.StartOptions{}); errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
		return err
	}
	if b.PID() != 0 || b.done() {
		return fmt.Errorf("before the start the PID is %d, done: %v", b.PID(), b.done())
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	b.let()
	if line, err := b.line(); err != nil || line != "ready "+backendArgv0 {
		return fmt.Errorf("it said %q, %w", line, err)
	}
	if err := b.Kill(); err != nil {
		return err
	}
	_ = b.over()
	if err := b.gone(); err != nil {
		return err
	}
	never, err := t.command("plain")
	if err != nil {
		return err
	}
	if _, err := w.Wrap(never.cmd, registry.StartOptions{}); err != nil {
		return err
	}
	if err := t.close(patience); err != nil {
		return fmt.Errorf("Close, with a command that was wrapped and never started: %w", err)
	}
	if never.cmd.Start() == nil {
		never.let()
		if line, err := never.line(); err != nil || line != "" {
			return fmt.Errorf("a command that was wrapped runs after Close: it said %q, %w", line, err)
		}
	}
	return nil
}
