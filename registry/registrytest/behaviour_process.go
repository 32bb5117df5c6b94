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
