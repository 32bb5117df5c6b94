//go:build windows || darwin

package drill

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// channel is the driver's end of what members report on: a pipe, on which each
// member says its own PID and when it was born.
type channel struct{ f *os.File }

// newChannel returns both ends.
func newChannel() (channel, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return channel{}, nil, fmt.Errorf("make a channel for reports: %w", err)
	}
	return channel{r}, w, nil
}

// next returns one report, or io.EOF when nobody is left to write one.
func (c channel) next() (message, error) {
	var buf [recordSize]byte
	if _, err := io.ReadFull(c.f, buf[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("a report that is cut short: %w", err)
		}
		return message{}, err
	}
	return readRecord(buf[:]), nil
}

func (c channel) close() { c.f.Close() }
