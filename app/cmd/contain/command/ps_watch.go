package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// watchEvery is how often contain ps --watch looks.
const watchEvery = 2 * time.Second

// The control sequences of ECMA-48, which every terminal of today obeys.
const (
	clearScreen = "\x1b[H\x1b[2J"
	noWrapping  = "\x1b[?7l"
	wrapping    = "\x1b[?7h"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// watch shows text on the terminal that is standard output, again and again, until it is
// interrupted, which is no failure.
func watch(ctx context.Context, text func() (string, error)) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer obeySequences(os.Stdout)()
	defer func() { _, _ = os.Stdout.WriteString(wrapping) }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		now, err := text()
		if err != nil {
			return err
		}
		if err := write(os.Stdout, clearScreen+noWrapping+fit(now)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// fit cuts text to the height of the terminal, and says what it has cut off.
func fit(text string) string {
	_, height, err := term.GetSize(int(os.Stdout.Fd()))
	lines := strings.SplitAfter(text, "\n")
	if err != nil || height < 2 || len(lines) <= height { // the last is empty
		return text
	}
	shown := height - 2
	return strings.Join(lines[:shown], "") + fmt.Sprintf("... %d more lines\n", len(lines)-1-shown)
}
