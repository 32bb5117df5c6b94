package containment_test

import (
	"os"
	"testing"

	"github.com/seed329817d7/contain/app/containment"
	"github.com/seed329817d7/contain/strategies/linux"
)

func subreaper() containment.Config {
	return containment.Config{Strategy: linux.SubreaperName, OutliveParent: true}
}

// TestOutputEndsHolder: under a strategy with a tree the process that holds the output
// is ended, and all of the output is there. The control is TestOutputHeld.
func TestOutputEndsHolder(t *testing.T) {
	c := install(t, subreaper())
	cmd := command(t, "leave-holder")
	in, hangUp, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp.Close()
	defer in.Close()
	cmd.Stdin = in
	out, err := c.Output(cmd)
	if err != nil || string(out) != "out" {
		t.Errorf("%q, %v", out, err)
	}
}
