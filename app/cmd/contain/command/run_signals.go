package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxSignal bounds signal numbers, signal(7): those of Linux, which has the most.
const maxSignal = 64

var errNoSuchSignal = errors.New("no such signal here; give a name such as TERM or SIGTERM, or a number")

// parseSignal reads a signal's name, with or without SIG, in any case, or its number.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > maxSignal {
			return 0, fmt.Errorf("%q: a signal's number is from 1 to %d", s, maxSignal)
		}
		return syscall.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := signalNumber(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("%q: %w", s, errNoSuchSignal)
}

// firstSignal is the value of the flag --signal, 0 if it is not given.
type firstSignal syscall.Signal

// Set reads a signal.
func (f *firstSignal) Set(s string) error {
	sig, err := parseSignal(s)
	if err == nil && sig == 0 {
		err = errors.New("0 is no signal; to swallow SIGTERM give --rewrite TERM=0")
	}
	if err == nil {
		*f = firstSignal(sig)
	}
	return err
}

// String returns the number, "" for none.
func (f *firstSignal) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.Itoa(int(*f))
}

// Type is what the usage text calls the value.
func (f *firstSignal) Type() string { return "SIG" }

// rewrites is the value of the repeatable flag --rewrite.
type rewrites map[syscall.Signal]syscall.Signal

// Set adds one rule.
func (r *rewrites) Set(s string) error {
	left, right, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q: no =; want FROM=TO, such as TERM=QUIT", s)
	}
	from, err := parseSignal(left)
	if err != nil {
		return err
	}
	to, err := parseSignal(right)
	if err != nil {
		return err
	}
	if why := notPassedOn(from); why != "" {
		return fmt.Errorf("%q: signal %q %s, so there is nothing to rewrite", s, left, why)
	}
	if _, again := (*r)[from]; again {
		return fmt.Errorf("%q: signal %q is rewritten twice", s, left)
	}
	if *r == nil {
		*r = rewrites{}
	}
	(*r)[from] = to
	return nil
}

// String lists the rules by number.
func (r *rewrites) String() string { return rules(*r) }

// Type is what the usage text calls the value.
func (r *rewrites) Type() string { return "FROM=TO" }

// exitMap is the value of the repeatable flag --exit-map.
type exitMap map[int]int

// Set adds one rule.
func (m *exitMap) Set(s string) error {
	left, right, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("%q: no =; want FROM=TO, such as 143=0", s)
	}
	from, err := parseExitCode(left)
	if err != nil {
		return err
	}
	to, err := parseExitCode(right)
	if err != nil {
		return err
	}
	if _, again := (*m)[from]; again {
		return fmt.Errorf("%q: exit code %d is mapped twice", s, from)
	}
	if *m == nil {
		*m = exitMap{}
	}
	(*m)[from] = to
	return nil
}

// String lists the rules.
func (m *exitMap) String() string { return rules(*m) }

// Type is what the usage text calls the value.
func (m *exitMap) Type() string { return "FROM=TO" }

func parseExitCode(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxExitCode {
		return 0, fmt.Errorf("%q: an exit code is a number from 0 to %d", s, int64(maxExitCode))
	}
	return n, nil
}

func rules[K, V ~int](m map[K]V) string {
	var words []string
	for from, to := range m {
		words = append(words, fmt.Sprintf("%d=%d", int(from), int(to)))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
