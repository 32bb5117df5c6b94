package supervisor

import (
	"math"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
	"time"
)

func fullSpec() Spec {
	return Spec{
		Path: "/bin/sh", Args: []string{"sh", "", "a\nb", "ü"}, Env: []string{"A=1", "=", ""}, Dir: "/tmp",
		Files: 7, OnLeaderExit: LeaderExitLeave, KillDeadline: 5 * time.Second, KillSignal: 9, OwnerFD: -1,
		Ignored: math.MaxUint64,
		Attr: Attr{
			Chroot: "/", Credential: true, UID: math.MaxUint32, GID: 1, Groups: []uint32{0, math.MaxUint32}, NoSetGroups: true,
			AmbientCaps: []uint32{10, 40}, Setsid: true, Setpgid: true, Pgid: -3, Foreground: true, ForegroundFD: 5,
			Setctty: true, Noctty: true, Ctty: 2, Cloneflags: 1 << 40, Unshareflags: 0x20000,
		},
	}
}

// random returns a Spec with every field filled by chance, as Decode would
// return it: no slice is nil.
func random(r *rand.Rand) Spec {
	v, ok := quick.Value(reflect.TypeFor[Spec](), r)
	if !ok {
		panic("testing/quick cannot make a Spec")
	}
	s := v.Interface().(Spec)
	for _, list := range []*[]string{&s.Args, &s.Env} {
		if *list == nil {
			*list = []string{}
		}
	}
	for _, list := range []*[]uint32{&s.Attr.Groups, &s.Attr.AmbientCaps} {
		if *list == nil {
			*list = []uint32{}
		}
	}
	return s
}

func TestSpecRoundTrip(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	specs := []Spec{fullSpec()}
	for range 200 {
		specs = append(specs, random(r))
	}
	for _, want := range specs {
		b := want.Append(nil)
		var got Spec
		if err := got.Decode(b); err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("sent %+v\nread %+v", want, got)
		}
		if err := new(Spec).Decode(append(b, 0)); err == nil {
			t.Fatal("a byte too many was accepted")
		}
		for n := range b {
			if err := new(Spec).Decode(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes were accepted", n, len(b))
			}
		}
	}
}

func TestSpecAppendAppends(t *testing.T) {
	s := fullSpec()
	b := s.Append([]byte("head"))
	if string(b[:4]) != "head" {
		t.Fatalf("Append wrote over what was there: %q", b[:4])
	}
	if err := new(Spec).Decode(b[4:]); err != nil {
		t.Fatal(err)
	}
}

func FuzzSpecDecode(f *testing.F) {
	full, empty := fullSpec(), Spec{}
	f.Add(full.Append(nil))
	f.Add(empty.Append(nil))
	f.Add([]byte{})
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again Spec
		if s.Decode(b) != nil {
			return
		}
		// What was accepted has one meaning, and its length.
		if err := again.Decode(s.Append(nil)); err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v\nbecame %+v (%v)", s, again, err)
		}
		if new(Spec).Decode(append(b, 0)) == nil {
			t.Fatal("a byte too many was accepted")
		}
	})
}
