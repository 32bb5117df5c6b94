//go:build unix

package walk

import (
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
)

// schedules is how many are tried of each kind; CONTAIN_SCHEDULES sets another number.
func schedules() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("CONTAIN_SCHEDULES"), 10, 64); err == nil {
		return n
	}
	return 400
}

func random(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 0))
	return r.IntN
}

// outcome is how one schedule ended.
type outcome struct {
	lost    []*proc // alive, and no mark is left by which they could be found
	missed  []*proc // alive, and they could have been found
	endless bool
}

// play runs one schedule against Tree.
func play(h *host, tree *Tree) (o outcome) {
	h.live(func() { _, _ = tree.Look() }, 20)
	o.endless = !h.end(func() int {
		left, _ := tree.Kill(syscall.SIGKILL)
		return left
	})
	for _, p := range h.left() {
		x := h.process(p)
		if tree.descends(x) || p.sentinel {
			o.missed = append(o.missed, p)
		} else {
			o.lost = append(o.lost, p)
		}
	}
	return o
}

// judge fails the test if a schedule did what none may.
func judge(t *testing.T, what string, r rules, h *host, o outcome) {
	t.Helper()
	// Nobody may be lost who keeps the sentinel, or whose parent was there long enough.
	strict := !r.closes || r.patient && r.versions || r.bare
	switch {
	case len(h.wrong) > 0:
		t.Fatalf("%s: strangers were signalled: %v\n%s", what, h.wrong, h.story())
	case o.endless:
		t.Fatalf("%s: never done\n%s", what, h.story())
	case len(o.missed) > 0:
		t.Fatalf("%s: could have been found: %v\n%s", what, o.missed, h.story())
	case strict && len(o.lost) > 0:
		t.Fatalf("%s: lost: %v\n%s", what, o.lost, h.story())
	}
}

// kinds are the rules under which schedules are tried.
var kinds = []struct {
	name string
	rules
}{
	{"the sentinel is kept", rules{}},
	{"the sentinel is kept, a group of its own", rules{group: true}},
	{"closed, but parents live until a look, macOS 15.4", rules{closes: true, patient: true, versions: true}},
	{"closed, but parents live until a look, macOS 13", rules{closes: true, patient: true}},
	{"no sentinel, forked by who has been seen, macOS 15.4", rules{bare: true, versions: true}},
	{"anything goes", rules{closes: true, group: true, versions: true}},
}

// TestSchedules tries random schedules on the simulated XNU: no stranger is ever
// signalled, nobody who has a mark left is missed, and where the rules leave everybody a
// mark nobody survives. A schedule that fails is printed with its seed.
func TestSchedules(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			lost := 0
			for seed := range schedules() {
				h, tree := newHost(random(seed), kind.rules)
				o := play(h, tree)
				judge(t, "seed "+strconv.FormatUint(seed, 10), kind.rules, h, o)
				lost += len(o.lost)
			}
			t.Logf("%d schedules, %d processes lost without a mark", schedules(), lost)
		})
	}
}

// TestParentsAlone is the control: who goes by current parents alone, as ps(1) shows
// them, loses processes in the same schedules, and signals strangers never the less not.
func TestParentsAlone(t *testing.T) {
	lost := 0
	for seed := range uint64(200) {
		h, tree := newHost(random(seed), rules{})
		known := map[uint64]xnu.Process{}
		look := func() {
			known = map[uint64]xnu.Process{}
			children := map[int][]xnu.Process{}
			_ = h.Each(func(p xnu.Process) { children[p.PPID] = append(children[p.PPID], p) })
			below := children[tree.Self.PID]
			for i := 0; i < len(below); i++ {
				if !below[i].Zombie {
					known[below[i].Unique] = below[i]
				}
				below = append(below, children[below[i].PID]...)
			}
		}
		h.live(look, 20)
		h.end(func() int {
			look()
			for _, p := range known {
				_ = h.Signal(p, syscall.SIGKILL)
			}
			look()
			return len(known)
		})
		lost += len(h.left())
	}
	if lost == 0 {
		t.Error("nobody was lost, so the schedules show nothing")
	}
	t.Logf("%d processes lost in 200 schedules", lost)
}

// FuzzSchedule takes the schedule from the fuzzer. What fails is kept in testdata/fuzz.
func FuzzSchedule(f *testing.F) {
	f.Add(uint8(0), []byte("forks, exits, executes"))
	f.Fuzz(func(t *testing.T, kind uint8, schedule []byte) {
		k := kinds[int(kind)%len(kinds)]
		rest := random(1) // a schedule that is too short goes on like this
		h, tree := newHost(func(n int) int {
			if len(schedule) == 0 {
				return rest(n)
			}
			b := schedule[0]
			schedule = schedule[1:]
			return int(b) % n
		}, k.rules)
		judge(t, k.name, k.rules, h, play(h, tree))
	})
}
