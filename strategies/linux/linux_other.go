//go:build !linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/seed329817d7/contain/registry"
)

func elsewhere(op, strategy string) error {
	return &registry.Error{Op: op, Strategy: strategy,
		Err: fmt.Errorf("%w: it works on linux, this is %s", errors.ErrUnsupported, runtime.GOOS)}
}

func (subreaper) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install", SubreaperName)
}

func (subreaper) Probe(context.Context) error { return elsewhere("probe", SubreaperName) }

func (subreaper) Run(context.Context, *exec.Cmd, registry.RunOptions) (registry.RunResult, error) {
	return registry.RunResult{}, elsewhere("run", SubreaperName)
}

func (pdeathsig) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install", PdeathsigName)
}

func (pdeathsig) Probe(context.Context) error { return elsewhere("probe", PdeathsigName) }

func (pidns) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install", PidnsName)
}

func (pidns) Probe(context.Context) error { return elsewhere("probe", PidnsName) }

func (pidns) Run(context.Context, *exec.Cmd, registry.RunOptions) (registry.RunResult, error) {
	return registry.RunResult{}, elsewhere("run", PidnsName)
}

func (autokill) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install", AutokillName)
}

func (autokill) Probe(context.Context) error { return elsewhere("probe", AutokillName) }

func (autokill) Run(context.Context, *exec.Cmd, registry.RunOptions) (registry.RunResult, error) {
	return registry.RunResult{}, elsewhere("run", AutokillName)
}

func (cgroup) Install(context.Context, registry.InstallOptions) (registry.Installation, error) {
	return nil, elsewhere("install", CgroupName)
}

func (cgroup) Probe(context.Context) error { return elsewhere("probe", CgroupName) }

func (cgroup) Run(context.Context, *exec.Cmd, registry.RunOptions) (registry.RunResult, error) {
	return registry.RunResult{}, elsewhere("run", CgroupName)
}
