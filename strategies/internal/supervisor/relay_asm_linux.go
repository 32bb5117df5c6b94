//go:build linux && (amd64 || arm64)

package supervisor

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/strategies/internal/entry"
)

// relaysOthers: of the signals of ownFaults those that others send are passed on.
const relaysOthers = true

var (
	// relayFD is where relayHandler writes.
	//
	//lint:ignore U1000 it is used in assembly
	relayFD int32
	// relayPID is this process's, as in the siginfo of what it sends itself.
	//
	//lint:ignore U1000 it is used in assembly
	relayPID int32
	// ownHandlers are the Go runtime's, by signal.
	//
	//lint:ignore U1000 it is used in assembly
	ownHandlers [entry.NumSig + 1]uintptr
)

// relayHandler is a signal handler, sigaction(2), that writes the siginfo it is
// given to relayFD, with the time in it, see entry.ReceivedAt: what signalfd(2) would do
// if a process with many threads could block a signal in all of them. os/signal drops si_code, which alone tells
// a signal that the terminal sent to everyone in the foreground from one that
// was meant for this process.
//
//lint:ignore U1000 its address is taken in assembly
func relayHandler()

// relayOthersHandler is relayHandler for a signal that another process has sent. What
// the kernel or this process itself has raised (a fault, the Go runtime's own URG, the
// PIPE of a write) is the runtime's, whose handler goes on.
//
//lint:ignore U1000 its address is taken in assembly
func relayOthersHandler()

// relayRestorer returns from a signal handler, sigreturn(2).
//
//lint:ignore U1000 its address is taken in assembly
func relayRestorer()

func relayHandlerPC() uintptr
func relayOthersHandlerPC() uintptr
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
	relayFD, relayPID = int32(fd), int32(unix.Getpid())
	forRelayed(ignored, func(sig int) {
		pc := relayHandlerPC()
		if ownFault(unix.Signal(sig)) {
			pc = relayOthersHandlerPC()
			ownHandlers[sig] = entry.HandlerOf(sig)
		}
		act := entry.Sigaction{
			Handler:  pc,
			Flags:    saSiginfo | saRestorer | saOnStack | saRestart,
			Restorer: relayRestorerPC(),
			Mask:     ^uint64(0),
		}
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	})
}
