package proctree

import (
	"slices"
	"testing"
)

func TestBelow(t *testing.T) {
	p := func(pid, ppid int) Process { return Process{PID: pid, PPID: ppid} }
	for _, tt := range []struct {
		name  string
		table []Process
		roots []int
		want  []int
	}{
		{"empty table", nil, []int{1}, nil},
		{"leaf", []Process{p(2, 1)}, []int{2}, nil},
		{"chain", []Process{p(4, 3), p(3, 2), p(2, 1)}, []int{2}, []int{3, 4}},
		{"parents first", []Process{p(9, 5), p(5, 2), p(6, 2), p(3, 1)}, []int{2}, []int{5, 6, 9}},
		{"root of macOS is its own parent", []Process{p(0, 0), p(1, 0), p(2, 1)}, []int{0}, []int{1, 2}},
		{"circle after reuse of PIDs", []Process{p(3, 2), p(4, 3), p(2, 4)}, []int{2}, []int{3, 4}},
		{"two roots, one below the other", []Process{p(3, 2), p(4, 3), p(7, 6)}, []int{2, 3, 6}, []int{4, 7}},
	} {
		var got []int
		for _, d := range Below(tt.table, tt.roots...) {
			got = append(got, d.PID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
