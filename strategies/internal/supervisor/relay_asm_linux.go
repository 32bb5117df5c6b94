//go:build linux && (amd64 || arm64)

package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// relayFD is where relayHandler writes.
//
//lint:ignore U1000 it is used in assembly
var relayFD int32

// relayHandler is a signal handler, sigaction(2), that writes the siginfo it is
// given to relayFD: what signalfd(2) would do if a process with many threads
// could block a signal in all of them. os/signal drops si_code, which alone tells
// a signal that the terminal sent to everyone in the foreground from one that
// was meant for this process.
//
//lint:ignore U1000 its address is taken in assembly
func relayHandler()

// relayRestorer returns from a signal handler, sigreturn(2).
//
//lint:ignore U1000 its address is taken in assembly
func relayRestorer()

func relayHandlerPC() uintptr
func relayRestorerPC() uintptr

// The kernel's flags, <asm-generic/signal-defs.h>.
const (
	saSiginfo  = 0x00000004
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

// relaySignals installs the handler for every signal that is passed on, but for
// the ignored, for the rest of this process's life.
func relaySignals(fd int, ignored uint64) {
	relayFD = int32(fd)
	forRelayed(ignored, func(sig int) {
		act := entry.Sigaction{
			Handler:  relayHandlerPC(),
			Flags:    saSiginfo | saRestorer | saOnStack | saRestart,
			Restorer: relayRestorerPC(),
			Mask:     ^uint64(0),
		}
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	})
}
