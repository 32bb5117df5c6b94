package command

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A branch is one line of a tree, and what stands below it.
type branch struct {
	text  string // cells, separated by tabs
	below []*branch
}

// psTree renders rows, which have their members, as a tree by owner.
func psTree(rows []psRow) (string, error) {
	byOwner := make(map[int]*branch)
	var owners []*branch
	for _, r := range rows {
		owner := byOwner[r.Owner.PID]
		if owner == nil {
			owner = &branch{text: named(r.Owner) + "\t\t"}
			byOwner[r.Owner.PID] = owner
			owners = append(owners, owner)
		}
		owner.below = append(owner.below, r.branch())
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OWNER, CONTAINMENT, PROCESSES\tAGE\tMEMORY")
	for _, o := range owners {
		o.print(w, "", "")
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	var text strings.Builder
	for line := range strings.Lines(b.String()) {
		text.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return text.String(), nil
}

// branch is the containment with its processes, each below its parent, if that is one of
// them and older: a number may have been given again.
func (r psRow) branch() *branch {
	var memory uint64
	all := make(map[int]*branch)
	age := make(map[int]int64)
	for _, m := range r.Members {
		memory += m.Memory
		all[m.PID] = &branch{text: fmt.Sprintf("%d (%s)\t%s\t%s", m.PID, printable(m.Name), seconds(m.Seconds), mebibytes(m.Memory))}
		age[m.PID] = m.Seconds
	}
	top := &branch{text: fmt.Sprintf("%s %s\t%s\t%s", r.ID, r.Strategy, r.Age, mebibytes(memory))}
	for _, m := range r.Members {
		at := top
		if parent := all[m.Parent]; parent != nil && m.Parent != m.PID && age[m.Parent] >= m.Seconds && !all[m.PID].over(parent) {
			at = parent
		}
		at.below = append(at.below, all[m.PID])
	}
	return top
}

// over reports whether other stands somewhere below b.
func (b *branch) over(other *branch) bool {
	return b == other || slices.ContainsFunc(b.below, func(c *branch) bool { return c.over(other) })
}

// print writes b, and what is below it behind prefix.
func (b *branch) print(w *tabwriter.Writer, first, prefix string) {
	fmt.Fprintln(w, first+b.text)
	for i, c := range b.below {
		if i == len(b.below)-1 {
			c.print(w, prefix+"└─ ", prefix+"   ")
		} else {
			c.print(w, prefix+"├─ ", prefix+"│  ")
		}
	}
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

// mebibytes is "-" where the memory is not known.
func mebibytes(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
