package linux_test

import (
	"testing"

	"github.com/seed329817d7/contain/registry/registrytest"
	"github.com/seed329817d7/contain/strategies/linux"
)

func init() { registrytest.Main() }

func TestConformanceSubreaper(t *testing.T) {
	registrytest.Run(t, registrytest.Harness{Strategy: linux.Subreaper()})
}

func TestConformanceCgroup(t *testing.T) {
	registrytest.Run(t, registrytest.Harness{Strategy: linux.Cgroup()})
}

func TestConformancePidns(t *testing.T) {
	registrytest.Run(t, registrytest.Harness{Strategy: linux.Pidns()})
}

func TestConformancePdeathsig(t *testing.T) {
	registrytest.Run(t, registrytest.Harness{Strategy: linux.Pdeathsig()})
}

func TestConformanceAutokill(t *testing.T) {
	registrytest.Run(t, registrytest.Harness{Strategy: linux.Autokill()})
}
