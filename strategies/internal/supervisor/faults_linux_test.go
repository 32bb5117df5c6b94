package supervisor

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// TestOwnFaults: what this process raises itself stays its own, and goes to the Go
// runtime; what another sends is relayed, and ends nothing.
func TestOwnFaults(t *testing.T) {
	if !relaysOthers {
		t.Skip("os/signal cannot tell who has sent a signal")
	}
	if os.Getenv("CONTAIN_TEST_FAULTS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOwnFaults$")
		cmd.Env = append(os.Environ(), "CONTAIN_TEST_FAULTS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	now := func() int64 {
		var t unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
		return t.Nano() / int64(time.Millisecond)
	}
	var relay, broken [2]int
	if err := errors.Join(unix.Pipe2(relay[:], unix.O_CLOEXEC), unix.Pipe2(broken[:], unix.O_CLOEXEC)); err != nil {
		t.Fatal(err)
	}
	before := now()
	relaySignals(relay[1], 0)

	_ = unix.Close(broken[0])
	if _, err := unix.Write(broken[1], []byte("x")); err != unix.EPIPE {
		t.Errorf("a write to a pipe that nobody reads: %v", err)
	}
	func() {
		defer func() {
			if err, ok := recover().(runtime.Error); !ok { // the panic of a fault
				t.Errorf("the fault became %v", err)
			}
		}()
		var nowhere *int
		*nowhere = 1
	}()
	stop := make(chan struct{})
	go func() { // for the runtime to preempt
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				for range 1 << 20 {
					n++
				}
			}
		}
	}()
	for range 20 {
		runtime.GC()
	}
	close(stop)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(relay[0]), Events: unix.POLLIN}}, 0); n != 0 {
		t.Fatalf("what was its own is relayed (%v)", err)
	}

	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, unix.SIGPIPE, unix.SIGPROF, unix.SIGURG, unix.SIGUSR1} {
		kill := exec.Command("sh", "-c", `kill -"$0" $PPID`, unix.SignalName(sig)[len("SIG"):])
		if err := kill.Start(); err != nil {
			t.Fatal(err)
		}
		var info [entry.SiginfoSize / 4]int32
		_, err := readSome(relay[0], unsafe.Slice((*byte)(unsafe.Pointer(&info)), entry.SiginfoSize))
		at := (*[2]uintptr)(unsafe.Pointer(&info[entry.ReceivedAt/4]))
		ms := int64(at[0])*1000 + int64(at[1])/int64(time.Millisecond)
		if err != nil || info[0] != int32(sig) || info[4] != int32(kill.Process.Pid) || ms < before || ms > now() {
			t.Errorf("%v of %d at %d: %v, %v of %d at %d", sig, kill.Process.Pid, before, err, unix.Signal(info[0]), info[4], ms)
		}
		if err := kill.Wait(); err != nil {
			t.Error(err)
		}
	}
}
