package entry

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestRepeats: the same standard signal of the same sender, within two milliseconds of
// the first, is no other.
func TestRepeats(t *testing.T) {
	const ms = int64(1e6)
	type arrival struct {
		sig    unix.Signal
		code   int32
		sender int32
		at     int64
		want   bool // it is passed on
	}
	for name, arrivals := range map[string][]arrival{
		"timeout":               {{unix.SIGTERM, 0, 7, 10 * ms, true}, {unix.SIGTERM, 0, 7, 10*ms + 50, false}, {unix.SIGCONT, 0, 7, 11 * ms, true}, {unix.SIGCONT, 0, 7, 11*ms + 50, false}},
		"of the first":          {{unix.SIGTERM, 0, 7, 10 * ms, true}, {unix.SIGTERM, 0, 7, 11 * ms, false}, {unix.SIGTERM, 0, 7, 12*ms + 1, true}},
		"later":                 {{unix.SIGINT, 0, 7, 10 * ms, true}, {unix.SIGINT, 0, 7, 12 * ms, true}},
		"another sender":        {{unix.SIGINT, 0, 7, 10 * ms, true}, {unix.SIGINT, 0, 8, 10*ms + 1, true}},
		"another signal":        {{unix.SIGINT, 0, 7, 10 * ms, true}, {unix.SIGTERM, 0, 7, 10*ms + 1, true}, {unix.SIGINT, 0, 7, 10*ms + 2, false}},
		"read out of order":     {{unix.SIGINT, 0, 7, 10 * ms, true}, {unix.SIGINT, 0, 7, 10*ms - 1, false}},
		"sigqueue":              {{unix.SIGINT, -1, 7, 10 * ms, true}, {unix.SIGINT, -1, 7, 10*ms + 1, false}},
		"real-time":             {{40, 0, 7, 10 * ms, true}, {40, 0, 7, 10*ms + 1, true}, {64, -1, 7, 10 * ms, true}, {64, -1, 7, 10 * ms, true}},
		"the kernel's":          {{unix.SIGWINCH, SIKernel, 0, 10 * ms, true}, {unix.SIGWINCH, SIKernel, 0, 10*ms + 1, true}},
		"at no time":            {{unix.SIGINT, 0, 7, 0, true}, {unix.SIGINT, 0, 7, 0, true}},
		"another PID namespace": {{unix.SIGHUP, 0, 0, 10 * ms, true}, {unix.SIGHUP, 0, 0, 10*ms + 1, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			r := &Supervisor{}
			r.Relay, r.Channel = p[0], -1
			for sig := range r.Rewrite {
				r.Rewrite[sig] = uint8(sig)
			}
			for i, a := range arrivals {
				var info [SiginfoSize / 4]int32
				info[0], info[2], info[int(siginfoPID)] = int32(a.sig), a.code, a.sender
				*(*timespec)(unsafe.Pointer(&info[ReceivedAt/4])) = timespec{uintptr(a.at / 1e9), uintptr(a.at % 1e9)}
				if _, err := unix.Write(p[1], unsafe.Slice((*byte)(unsafe.Pointer(&info)), SiginfoSize)); err != nil {
					t.Fatal(err)
				}
				r.signal = 0
				if r.readRelay(); (r.signal != 0) != a.want || a.want && r.signal != int(a.sig) {
					t.Errorf("%d: %v is passed on as %d; want that it is: %v", i, a.sig, r.signal, a.want)
				}
			}
		})
	}
}
