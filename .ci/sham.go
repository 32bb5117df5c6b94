// Command sham holds drills for a strategy that declares the tree and contains nothing.
// Each must go red; it fails if one does not. It shows on any system that the drills
// there can fail, so that what they prove is proved.
//
//	go run .ci/sham.go
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/registry/registrytest/drill"
)

func init() { drill.Main(sham{}) }

// sham is a strategy with its mechanism switched off.
type sham struct{}

func (sham) Describe() registry.Description {
	tree := func(e registry.Event) registry.Guarantee {
		return registry.Guarantee{Event: e, Reach: registry.ReachTree, Enforcer: registry.EnforcerKernel, Within: time.Second}
	}
	p := registry.CurrentPlatform()
	return registry.Description{
		Name: string(p) + "/sham", Platform: p, Summary: "It contains nothing.", Target: "sham",
		Guarantees: []registry.Guarantee{tree(registry.EventOwnerKilled), tree(registry.EventLeaderExit), tree(registry.EventOwnerExit)},
	}
}

func (s sham) Target() registry.Cleanup { return s.Describe().Target }

func (s sham) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return s, nil
}

func (s sham) Cleanup() registry.Cleanup { return s.Target() }

func (sham) Close(context.Context) error { return nil }

func (sham) Start(cmd *exec.Cmd, _ registry.StartOptions) (registry.Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return process{cmd.Process}, nil
}

// process is the leader alone.
type process struct{ p *os.Process }

func (p process) PID() int                          { return p.p.Pid }
func (p process) Signal(sig os.Signal) error        { return p.p.Signal(sig) }
func (p process) Terminate() error                  { return p.p.Kill() }
func (p process) Kill() error                       { return p.p.Kill() }
func (process) Members() ([]registry.Member, error) { return nil, nil }
func (process) Done() <-chan struct{}               { return nil }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sham:", err)
		os.Exit(1)
	}
}

func run() error {
	o := drill.Options{Quick: true}
	lab, err := drill.NewLab(o)
	if err != nil {
		return err
	}
	defer lab.Close()
	red := 0
	var errs []error
	for _, d := range drill.Plan(sham{}.Describe(), o) {
		if d.Enforcer == "" {
			continue // not declared by itself: the end of some follows from something else
		}
		r, applies := lab.Run(context.Background(), d)
		switch {
		case !applies:
		case r.Err != nil && !errors.Is(r.Err, drill.ErrSkipped) && len(r.Survivors) > 0:
			fmt.Printf("red, as it must be: %s: %v\n", d, r.Err)
			red++
		default:
			errs = append(errs, fmt.Errorf("%s did not go red: %d survivors, error %v", d, len(r.Survivors), r.Err))
		}
	}
	if red == 0 {
		errs = append(errs, errors.New("no drill was held"))
	}
	return errors.Join(errs...)
}
