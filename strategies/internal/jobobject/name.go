// Package jobobject is what package windows and package inventory share: the
// names of backends' jobs, and the calls on jobs that golang.org/x/sys lacks.
package jobobject

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// prefix begins the name of every backend's job.
const prefix = "contain-windows-job-"

// A Name is that of a backend's job, by which others find it.
type Name struct {
	Owner   int       // the PID of the process that holds the job
	Created time.Time // when that was created
	Tag     string    // tells the jobs of an owner apart, and cannot be guessed
}

// NewName returns a name that is not used again.
func NewName(owner int, created time.Time) Name {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return Name{owner, created, strconv.FormatUint(binary.LittleEndian.Uint64(b[:]), 36)}
}

// String returns the name as the system knows it, without a namespace.
func (n Name) String() string {
	return prefix + strconv.Itoa(n.Owner) + "-" + strconv.FormatInt(n.Created.UnixNano(), 36) + "-" + n.Tag
}

// ID is what contain ps calls the job.
func (n Name) ID() string { return strconv.Itoa(n.Owner) + "-" + n.Tag }

// ParseName reads what String returns.
func ParseName(s string) (Name, bool) {
	rest, ours := strings.CutPrefix(s, prefix)
	fields := strings.Split(rest, "-")
	if !ours || len(fields) != 3 || fields[2] == "" {
		return Name{}, false
	}
	owner, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		return Name{}, false
	}
	created, err := strconv.ParseInt(fields[1], 36, 64)
	if err != nil {
		return Name{}, false
	}
	if _, err := strconv.ParseUint(fields[2], 36, 64); err != nil { // it is printed
		return Name{}, false
	}
	return Name{int(owner), time.Unix(0, created), fields[2]}, true
}
