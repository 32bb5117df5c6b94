// Package strategy is somebody else's: it contains by what linux/subreaper does, and
// promises a part of that.
package strategy

import (
	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/linux"
)

func init() { registry.Default().MustRegister(strategy{linux.Subreaper()}) }

type strategy struct{ registry.Strategy }

// Describe declares what contain prove then proves.
func (s strategy) Describe() registry.Description {
	d := s.Strategy.Describe()
	owner, _ := d.Guarantee(registry.EventOwnerKilled)
	return registry.Description{
		Name: "linux/example.subreaper", Platform: registry.PlatformLinux, Summary: "an example",
		Target: d.Target, Guarantees: []registry.Guarantee{owner}, Limits: []string{"it is an example"}, Supervisor: d.Supervisor,
	}
}
