package registrytest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed329817d7/contain/registry"
)

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
	done := b.Done()
	_ = b.leash.Close()
	if err := b.gone(); err != nil {
		return err
	}
	if b.Done() != done {
		return errors.New("Done returns another channel than before the end")
	}
	if err := b.ended("before cmd.Wait"); err != nil {
		return err
	}
	_ = b.over()
	return b.ended("after cmd.Wait")
}

// ended says what is wrong with a backend of which nothing is left.
func (b *contained) ended(when string) error {
	if err := b.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("Signal %s: %v", when, err)
	}
	for what, end := range map[string]func() error{"Kill": b.Kill, "Terminate": b.Terminate} {
		if err := end(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("%s %s: %w", what, when, err)
		}
	}
	if members, err := b.Members(); len(members) > 0 || err != nil {
		return fmt.Errorf("Members %s: %v, %v", when, members, err)
	}
	return nil
}

func knowsExitState(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	reporter, ok := b.Process.(registry.ExitReporter)
	if !ok {
		return nil
	}
	over, cancel := context.WithCancel(t.ctx)
	cancel()
	if state, err := reporter.ExitState(over); !errors.Is(err, registry.ErrRunning) {
		return fmt.Errorf("while it runs: %v, %v", state, err)
	}
	_ = b.leash.Close()
	for _, when := range []string{"before", "after"} {
		soon, cancel := context.WithTimeout(t.ctx, patience)
		state, err := reporter.ExitState(soon)
		cancel()
		if err != nil || state != (registry.ExitState{ExitCode: backendCode}) {
			return fmt.Errorf("%s cmd.Wait: %v, %v, want exit status %d", when, state, err, backendCode)
		}
		if when == "before" {
			_ = b.over()
		}
	}
	return b.gone()
}

func opensPidfd(t *trial) error {
	b, err := t.start("plain", registry.StartOptions{})
	if err != nil {
		return err
	}
	opener, ok := b.Process.(registry.PidfdOpener)
	if !ok {
		return nil
	}
	f, err := opener.Pidfd()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil || f == nil {
		return fmt.Errorf("while it runs: %v, %w", f, err)
	}
	_ = f.Close()
	_ = b.leash.Close()
	_ = b.over()
	if err := b.gone(); err != nil {
		return err
	}
	if f, err := opener.Pidfd(); f != nil || !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("after the end: %v, %v", f, err)
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
	b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{OnLeaderExit: what, Grace: patience})
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
		return b.none()
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

func outlivesLeader(t *trial) error {
	if g, ok := t.s.Describe().Guarantee(registry.EventLeaderExit); !ok || g.Reach != registry.ReachTree {
		return nil
	}
	b, err := t.command("family")
	if err != nil {
		return err
	}
	b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{OnLeaderExit: registry.LeaderExitWait})
	if errors.Is(err, registry.ErrNotPassed) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	} else if err != nil {
		return err
	}
	b.let()
	leader := b.PID()
	_ = b.over()
	if line, err := b.line(); err != nil || !strings.HasPrefix(line, "ready ") {
		return fmt.Errorf("what was left behind said %q, %w", line, err)
	}
	if err := b.Signal(os.Kill); !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("Signal: %v", err)
	}
	members, err := b.Members()
	if err != nil || len(members) == 0 || slices.ContainsFunc(members, func(m registry.Member) bool { return m.PID == leader }) || b.done() {
		return fmt.Errorf("members %v (%v) after leader %d, done: %v", members, err, leader, b.done())
	}
	if err := b.Terminate(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("Terminate: %w", err)
	}
	if err := b.Kill(); err != nil && !(errors.Is(err, os.ErrProcessDone) && b.ends()) { // it may have ended when it was asked to
		return fmt.Errorf("Kill: %w", err)
	}
	return b.none()
}
