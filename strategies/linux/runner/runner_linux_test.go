package runner

import (
	"slices"
	"testing"

	"github.com/seed329817d7/contain/registry"
	_ "github.com/seed329817d7/contain/strategies/all"
)

// TestAttempts: Run tries what a resolution would try first.
func TestAttempts(t *testing.T) {
	var got, want []string
	for _, a := range attempts {
		got = append(got, a.strategy)
	}
	for _, s := range registry.Default().Candidates(registry.PlatformLinux) {
		if d := s.Describe(); !d.OptIn && len(d.Unmet([]registry.Requirement{registry.DefaultRequirement()})) == 0 {
			want = append(want, d.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("tries %q, and without flags a resolution takes the first of %q that works", got, want)
	}
}
