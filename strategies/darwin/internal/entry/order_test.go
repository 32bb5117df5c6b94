package entry

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

func TestOrder(t *testing.T) {
	want := Order{OwnerPID: 4711, OwnerUnique: 1 << 60, Home: 42, Spec: supervisor.Spec{
		Path: "/bin/sh", Args: []string{"sh", "-c", ""}, Env: []string{"A=b"}, Dir: "/tmp", Files: 5,
		OnLeaderExit: supervisor.LeaderExitWait, KillDeadline: 5 * time.Second, KillSignal: 9, OwnerFD: -1,
		Attr: supervisor.Attr{Credential: true, UID: 1, GID: 2, Groups: []uint32{3}, AmbientCaps: []uint32{}, Setpgid: true},
	}}
	b := want.Append(nil)
	if n := binary.BigEndian.Uint32(b); int(n) != len(b)-4 {
		t.Fatalf("length %d of %d bytes", n, len(b))
	}
	var got Order
	if err := got.Decode(b[4:]); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for n := range b[4:] {
		if got.Decode(b[4:4+n]) == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(b)-4)
		}
	}
}
