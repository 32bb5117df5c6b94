package command

import (
	"bytes"
	"log/slog"
	"maps"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
	"github.com/seed329817d7/contain/registry"
)

func TestAsked(t *testing.T) {
	f := runFlags{grace: time.Minute, onExit: onExit(registry.LeaderExitWait)}
	opts := f.asked(true)
	if want := (registry.RunOptions{Grace: time.Minute, OnLeaderExit: registry.LeaderExitWait}); !reflect.DeepEqual(opts.RunOptions, want) {
		t.Errorf("%+v, want %+v", opts, want)
	}
	if opts := f.asked(false); opts.Grace >= 0 {
		t.Errorf("grace %v without --grace, want none", opts.Grace)
	}
}

func TestWarnings(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(&warnings{w: &b})
	log.Info("contain: in force")
	if b.Len() > 0 {
		t.Errorf("an Info record was printed: %q", &b)
	}
	log.With("strategy", "noop/noop").WithGroup("g").Warn("contain: less than the tree", "why", "two\nlines", "empty", "")
	const want = `contain: warning: less than the tree strategy=noop/noop why="two\nlines" empty=""` + "\n"
	if b.String() != want {
		t.Errorf("%q, want %q", &b, want)
	}
	b.Reset()
	log = slog.New(&warnings{w: &b, verbose: true})
	log.Debug("contain: nothing")
	log.With("strategy", "a/b").Info("contain: in force", "c", "d")
	if got, want := b.String(), "contain: in force strategy=a/b c=d\n"; got != want {
		t.Errorf("verbose: %q, want %q", got, want)
	}
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	platform := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	for _, tc := range []struct {
		stamp string
		info  *debug.BuildInfo
		want  string
	}{
		{"", nil, "contain (devel)" + platform},
		{"", &debug.BuildInfo{}, "contain (devel)" + platform},
		{"", info, "contain v0.1.0 (revision abc, modified)" + platform},
		{"v9", info, "contain v9 (revision abc, modified)" + platform},
	} {
		if got := versionLine(tc.stamp, tc.info); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// TestFlagsAreKnown: package plain, which runs what has no flags, knows all of them.
func TestFlagsAreKnown(t *testing.T) {
	var byFlag []string
	for line := range strings.Lines(newRun().Flags().FlagUsages()) {
		if _, name, ok := strings.Cut(line, "--"); ok && strings.HasPrefix(strings.TrimLeft(line, " "), "-") {
			byFlag = append(byFlag, strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" [=\n", r) })[0])
		}
	}
	known := slices.Sorted(slices.Values(plain.Flags[:]))
	slices.Sort(byFlag)
	if !slices.Equal(byFlag, known) {
		t.Errorf("known %v, flags %v", known, byFlag)
	}
	for _, name := range append(slices.Collect(maps.Keys(rivals)), lists...) {
		if !slices.Contains(known, name) {
			t.Errorf("%q is no flag", name)
		}
	}
}
