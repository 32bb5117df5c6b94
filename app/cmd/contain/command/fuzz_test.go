package command

import "testing"

// FuzzRules: the rules of --rewrite, --exit-map and --signal are numbers within
// their bounds, given once, or an error; nothing else is taken.
func FuzzRules(f *testing.F) {
	for _, s := range []string{"TERM=QUIT", "15=3", "sigterm=0", "143=0", "0=-1", "=", "TERM", "TERM=TERM=TERM", "99999999999999999999=1", "KILL=TERM", "+15=3", "15 = 3", "RTMIN+1=64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r rewrites
		if r.Set(s) == nil {
			for from, to := range r {
				if from < 1 || from > maxSignal || to < 0 || to > maxSignal || notPassedOn(from) != "" {
					t.Errorf("--rewrite %q: %d=%d", s, from, to)
				}
			}
			if len(r) != 1 || r.Set(s) == nil {
				t.Errorf("--rewrite %q: %v", s, r)
			}
			var again rewrites
			if err := again.Set(r.String()); err != nil || again.String() != r.String() {
				t.Errorf("--rewrite %q: %q reads as %q, %v", s, r.String(), again.String(), err)
			}
		}
		var m exitMap
		if m.Set(s) == nil {
			for from, to := range m {
				if from < 0 || from > maxExitCode || to < 0 || to > maxExitCode {
					t.Errorf("--exit-map %q: %d=%d", s, from, to)
				}
			}
			if len(m) != 1 || m.Set(s) == nil {
				t.Errorf("--exit-map %q: %v", s, m)
			}
		}
		var sig firstSignal
		if sig.Set(s) == nil && (sig < 1 || sig > maxSignal) {
			t.Errorf("--signal %q: %d", s, sig)
		}
	})
}
