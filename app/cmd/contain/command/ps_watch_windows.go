package command

import (
	"os"

	"golang.org/x/sys/windows"
)

// obeySequences has a console obey control sequences, as it does not in every host.
// https://learn.microsoft.com/windows/console/console-virtual-terminal-sequences
func obeySequences(console *os.File) (restore func()) {
	h := windows.Handle(console.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return func() {}
	}
	_ = windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	return func() { _ = windows.SetConsoleMode(h, mode) }
}
