package windows

import (
	"testing"

	"github.com/seed329817d7/contain/registry/registrytest"
)

func init() { registrytest.Main() }

func TestConformance(t *testing.T) { registrytest.Run(t, registrytest.Harness{Strategy: Job()}) }
