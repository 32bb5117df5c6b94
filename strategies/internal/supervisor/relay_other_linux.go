//go:build linux && !amd64 && !arm64

package supervisor

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// relaysOthers: os/signal cannot tell who has sent a signal.
const relaysOthers = false

// relaySignals passes signals on through os/signal, which cannot tell a signal
// that the terminal sent from any other: on a terminal SIGINT and SIGQUIT may
// reach the command twice on these architectures.
func relaySignals(fd int, ignored uint64) {
	c := make(chan os.Signal, 64)
	forRelayed(ignored, func(sig int) { signal.Notify(c, syscall.Signal(sig)) })
	go func() {
		for sig := range c {
			var info [entry.SiginfoSize]byte
			*(*int32)(unsafe.Pointer(&info[0])) = int32(sig.(syscall.Signal))
			var now unix.Timespec
			if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
				*(*[2]uintptr)(unsafe.Pointer(&info[entry.ReceivedAt])) = [2]uintptr{uintptr(now.Sec), uintptr(now.Nsec)}
			}
			_, _ = unix.Write(fd, info[:])
		}
	}()
}
