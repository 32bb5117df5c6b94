package command

import (
	"fmt"
	"strings"
)

// enclosingJob is the Windows job object that this process was started in.
type enclosingJob struct {
	InJob bool `json:"inJob"`
	// Breakaway says whether what this process starts may leave all jobs around
	// it, found by trying.
	Breakaway string `json:"breakaway"` // allowed, refused or unknown
	// Limits are those of the innermost job that are set, by their standard names.
	Limits []string `json:"limits"`
	// LimitsKnown is false where the system does not tell them.
	LimitsKnown bool   `json:"limitsKnown"`
	Reason      string `json:"reason,omitempty"` // why something is not known
}

// String is one line for people.
func (e *enclosingJob) String() string {
	if !e.InJob {
		if e.Reason != "" {
			return "Enclosing job: not known: " + e.Reason + "."
		}
		return "Enclosing job: none."
	}
	limits := "not known"
	if e.LimitsKnown {
		limits = "none"
	}
	if len(e.Limits) > 0 {
		limits = strings.Join(e.Limits, ", ")
	}
	text := fmt.Sprintf("Enclosing job: yes; breakaway %s; limits: %s", e.Breakaway, limits)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text + "."
}
