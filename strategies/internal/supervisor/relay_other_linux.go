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
			_, _ = unix.Write(fd, info[:])
		}
	}()
}
