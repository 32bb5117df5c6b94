package command

import (
	"testing"

	"github.com/seed329817d7/contain/strategies/inventory"
)

// TestPsTree: each process stands below its parent, if that is a member and older; none is
// lost, and no cycle of numbers that were given again goes on for ever.
func TestPsTree(t *testing.T) {
	t.Parallel()
	member := func(pid, parent int, age int64, name string) psMember {
		return psMember{inventory.Process{PID: pid, Name: name}, parent, age, 1 << 20}
	}
	broker := inventory.Process{PID: 10, Name: "broker"}
	rows := []psRow{
		{ID: "20-a", Strategy: "linux/subreaper", Owner: broker, Age: "1m40s", Members: []psMember{
			member(21, 20, 100, "sh"), member(22, 21, 90, "node"), member(23, 22, 80, "esbuild\x1b[2J"), member(24, 21, 70, "npm"),
			member(25, 1, 60, "daemon"),
		}},
		{ID: "30-b", Strategy: "linux/cgroup", Owner: inventory.Process{PID: 11, Name: "contain"}, Age: "5s", Members: []psMember{
			{inventory.Process{PID: 31, Name: "hidden"}, 11, 5, 0},
		}},
		{ID: "40-c", Strategy: "windows/job", Owner: broker, Age: "9s", Members: []psMember{
			member(41, 42, 9, "a"), member(42, 41, 9, "b"), member(43, 44, 9, "old"), member(44, 10, 3, "has its parent's number"), member(45, 45, 1, "self"),
		}},
	}
	got, err := psTree(rows)
	want := `OWNER, CONTAINMENT, PROCESSES       AGE    MEMORY
10 (broker)
├─ 20-a linux/subreaper             1m40s  5.0 MiB
│  ├─ 21 (sh)                       1m40s  1.0 MiB
│  │  ├─ 22 (node)                  1m30s  1.0 MiB
│  │  │  └─ 23 (esbuild?[2J)        1m20s  1.0 MiB
│  │  └─ 24 (npm)                   1m10s  1.0 MiB
│  └─ 25 (daemon)                   1m0s   1.0 MiB
└─ 40-c windows/job                 9s     5.0 MiB
   ├─ 42 (b)                        9s     1.0 MiB
   │  └─ 41 (a)                     9s     1.0 MiB
   ├─ 43 (old)                      9s     1.0 MiB
   ├─ 44 (has its parent's number)  3s     1.0 MiB
   └─ 45 (self)                     1s     1.0 MiB
11 (contain)
└─ 30-b linux/cgroup                5s     -
   └─ 31 (hidden)                   5s     -
`
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}
