package registrytest

import (
	"errors"
	"os"
	"syscall"

	"github.com/seed329817d7/contain/registry"
)

// fakeProcess fails where the Fake is told to.
type fakeProcess struct {
	registry.Process
	fake *Fake
}

func (p *fakeProcess) Signal(sig os.Signal) error {
	if err := p.fake.SignalErr; err != nil {
		return err
	}
	return p.Process.Signal(sig)
}

func (p *fakeProcess) Terminate() error {
	if err := p.fake.TerminateErr; err != nil {
		return err
	}
	return p.Process.Terminate()
}

func (p *fakeProcess) Kill() error {
	if err := p.fake.KillErr; err != nil {
		return err
	}
	return p.Process.Kill()
}

func (p *fakeProcess) Members() ([]registry.Member, error) {
	if err := p.fake.MembersErr; err != nil {
		return nil, err
	}
	return p.Process.Members()
}

// plainProcess is a leader; nothing is known of what it starts.
type plainProcess struct {
	leader *os.Process
	name   string
	exited <-chan struct{}
}

func (p *plainProcess) PID() int              { return p.leader.Pid }
func (p *plainProcess) Done() <-chan struct{} { return p.exited }
func (p *plainProcess) Terminate() error      { return p.endWith(syscall.SIGTERM) } // Windows has none: an error
func (p *plainProcess) Kill() error           { return p.endWith(os.Kill) }

// Signal looks at exited first, because a zombie accepts signals.
func (p *plainProcess) Signal(sig os.Signal) error {
	if p.gone() {
		return os.ErrProcessDone
	}
	return p.leader.Signal(sig)
}

func (p *plainProcess) endWith(sig os.Signal) error {
	if err := p.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *plainProcess) Members() ([]registry.Member, error) {
	if p.gone() {
		return nil, nil
	}
	return []registry.Member{{PID: p.PID(), Name: p.name}}, nil
}

func (p *plainProcess) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// wrappedProcess stands for a wrapped command whose start nobody reports. Done
// is closed with the installation.
type wrappedProcess struct{ done chan struct{} }

func (*wrappedProcess) PID() int                            { return 0 }
func (*wrappedProcess) Signal(os.Signal) error              { return os.ErrProcessDone }
func (*wrappedProcess) Terminate() error                    { return nil }
func (*wrappedProcess) Kill() error                         { return nil }
func (*wrappedProcess) Members() ([]registry.Member, error) { return nil, nil }
func (p *wrappedProcess) Done() <-chan struct{}             { return p.done }
