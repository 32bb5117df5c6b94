package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// warnings is a log handler that prints what is a warning or worse as one
// "contain: warning: ..." line, and drops the rest. If verbose, what is an
// information is printed, too, as a "contain: ..." line.
type warnings struct {
	w       io.Writer
	verbose bool
	attrs   []slog.Attr
}

// Enabled reports whether level is printed.
func (h *warnings) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.verbose && level >= slog.LevelInfo
}

// Handle prints r.
func (h *warnings) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("contain: ")
	if r.Level >= slog.LevelWarn {
		b.WriteString("warning: ")
	}
	b.WriteString(strings.TrimPrefix(r.Message, "contain: "))
	add := func(a slog.Attr) bool {
		value := a.Value.Resolve().String()
		if value == "" || strings.ContainsAny(value, " \"\n\t") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, " %s=%s", a.Key, value)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	b.WriteByte('\n')
	_, err := io.WriteString(h.w, b.String())
	return err
}

// WithAttrs returns a handler that prints attrs too.
func (h *warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &warnings{h.w, h.verbose, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup returns h: one line needs no groups.
func (h *warnings) WithGroup(string) slog.Handler { return h }
