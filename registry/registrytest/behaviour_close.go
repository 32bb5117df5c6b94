package registrytest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed329817d7/contain/registry"
)

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
		if err := b.ended("after Close"); err != nil {
			return err
		}
	}
	b, err := t.command("plain")
	if err != nil {
		return err
	}
	if p, err := registry.Start(t.in, b.cmd, registry.StartOptions{}); p != nil || !errors.Is(err, registry.ErrClosed) || b.cmd.Process != nil {
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
	b.Process, err = registry.Start(t.in, b.cmd, registry.StartOptions{})
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
