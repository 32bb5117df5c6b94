// Package launch is how contain run finds its command and how contain ends. A run
// without flags has its own ways on Linux: see package plain.
package launch

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
	"github.com/seed329817d7/contain/registry"
)

// See package plain, which needs them first.
const (
	ExitFailure       = plain.ExitFailure
	ExitNotExecutable = plain.ExitNotExecutable
	ExitNotFound      = plain.ExitNotFound
	ExitSignalBase    = plain.ExitSignalBase
)

// ExitError ends contain with code; without an error it prints nothing.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Report prints err on one line and returns the exit code that it stands for.
func Report(stderr io.Writer, err error) int {
	var exit *ExitError
	switch {
	case err == nil:
	case !errors.As(err, &exit):
		fmt.Fprintln(stderr, "contain:", OneLine(err))
	case exit.Err != nil:
		fmt.Fprintln(stderr, "contain:", OneLine(exit.Err))
	}
	return ExitCode(err)
}

// ExitCode returns the exit code that err stands for.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return ExitFailure
}

// OneLine is the text of err on one line, without the "contain: " that the
// library's errors begin with.
func OneLine(err error) string {
	s := strings.TrimPrefix(strings.TrimSpace(err.Error()), "contain: ")
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// ErrNoStatus: the command ended, and how is not known.
var ErrNoStatus = errors.New("the command's exit status is not known")

// ExitLike returns the error that makes contain exit as its command did.
func ExitLike(r registry.RunResult) error {
	code, known := plain.ExitCode(r.ExitCode, r.Signal)
	switch {
	case !known:
		return &ExitError{Code: code, Err: ErrNoStatus}
	case code != 0:
		return &ExitError{Code: code}
	}
	return nil
}
