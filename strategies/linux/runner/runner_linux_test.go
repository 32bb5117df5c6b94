package runner

import (
	"slices"
	"testing"

	"github.com/seed329817d7/contain/registry"
	_ "github.com/seed329817d7/contain/strategies/all"
)

// TestNames: Run tries what a resolution would try first.
func TestNames(t *testing.T) {
	var want []string
	for _, s := range registry.Default().Candidates(registry.PlatformLinux) {
		if d := s.Describe(); !d.OptIn && len(d.Unmet([]registry.Requirement{registry.DefaultRequirement()})) == 0 {
			want = append(want, d.Name)
		}
	}
	if !slices.Equal(Names[:], want) {
		t.Errorf("Names is %q, and without flags a resolution takes the first of %q that works", Names, want)
	}
}
