package jobobject

import (
	"testing"
	"time"
)

func TestName(t *testing.T) {
	created := time.Now()
	n := NewName(4242, created)
	if again := NewName(4242, created); again.Tag == n.Tag {
		t.Errorf("two names with the tag %q", n.Tag)
	}
	got, ok := ParseName(n.String())
	if !ok || got.Owner != 4242 || !got.Created.Equal(created) || got.Tag != n.Tag {
		t.Errorf("%q is read as %+v, %t", n, got, ok)
	}
	for _, s := range []string{
		"", "contain-windows-job-", "other-1-a-b", "contain-windows-job-1-a", "contain-windows-job-1-a-", "contain-windows-job--1-a-b",
		"contain-windows-job-1-a-b-c", "contain-windows-job-x-a-b", "contain-windows-job-1-$-b", "contain-windows-job-1-a-\x1b[31m",
	} {
		if n, ok := ParseName(s); ok {
			t.Errorf("%q is read as %+v", s, n)
		}
	}
}
