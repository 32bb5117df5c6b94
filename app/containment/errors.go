package containment

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/seed329817d7/contain/registry"
)

var (
	// ErrNotInstalled: the containment is not in force yet.
	ErrNotInstalled = errors.New("containment not in force yet: install it first; under fx, start backends in OnStart")
	// ErrParentNotWatched: on Windows, this process may not open its parent
	// (services.exe, for one), and so cannot end with it.
	ErrParentNotWatched = errors.New("this process may not open its parent to watch it; do not ask to die with it")
	// ErrLeft: processes of a backend are alive although they were ordered to end.
	ErrLeft = registry.ErrLeft
	// ErrRunning: see [Backend.ExitState].
	ErrRunning = registry.ErrRunning
)

// compose returns nil if all errs are nil, else one error that prints on one
// line and through which errors.Is and errors.As reach each of them.
func compose(errs ...error) error {
	all := &multierror.Error{ErrorFormat: oneLine}
	return multierror.Append(all, errs...).ErrorOrNil()
}

func oneLine(errs []error) string {
	words := make([]string, len(errs))
	for i, err := range errs {
		words[i] = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return strings.Join(words, "; ")
}

// unresolved spreads the reasons of a resolution that found nothing: first what
// was looked for, then each strategy's own error.
func unresolved(err error) error {
	var none *registry.NoStrategyError
	if !errors.As(err, &none) {
		return err
	}
	all := &multierror.Error{ErrorFormat: listReasons, Errors: []error{&registry.Error{Op: "install", Err: &notFound{none}}}}
	for _, s := range none.Skipped {
		all.Errors = append(all.Errors, &reason{s})
	}
	return all
}

// notFound prints what was looked for, without the reasons, which follow it as
// errors of their own.
type notFound struct{ none *registry.NoStrategyError }

func (e *notFound) Error() string {
	if len(e.none.Skipped) == 0 {
		return e.none.Error()
	}
	text := fmt.Sprintf("%v qualifies on %s", registry.ErrNoStrategy, e.none.Platform)
	for i, r := range e.none.Minimum {
		text += []string{" for ", ", "}[min(i, 1)] + r.String()
	}
	return text
}

func (e *notFound) Unwrap() error { return e.none }

// reason is why one strategy was not taken.
type reason struct{ registry.Skip }

func (e *reason) Error() string { return e.String() }
func (e *reason) Unwrap() error { return e.Err }

func listReasons(errs []error) string {
	text := errs[0].Error()
	if len(errs) == 1 {
		return text
	}
	return text + ": " + oneLine(errs[1:]) + "; to accept less, name a strategy, require less, or ask for the best effort"
}
