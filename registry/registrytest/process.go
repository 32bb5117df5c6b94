package registrytest

import (
	"os"

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

// wrappedProcess stands for a wrapped command whose start nobody reports. Done
// is closed with the installation.
type wrappedProcess struct{ done chan struct{} }

func (*wrappedProcess) PID() int                            { return 0 }
func (*wrappedProcess) Signal(os.Signal) error              { return os.ErrProcessDone }
func (*wrappedProcess) Terminate() error                    { return nil }
func (*wrappedProcess) Kill() error                         { return nil }
func (*wrappedProcess) Members() ([]registry.Member, error) { return nil, nil }
func (p *wrappedProcess) Done() <-chan struct{}             { return p.done }
