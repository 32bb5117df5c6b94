package command

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed329817d7/contain/registry"
)

const describeLong = `List every strategy on every platform, the strongest first: what it promises,
which one contain would choose here, and why not each other one.

A guarantee says which processes are gone, by whose doing and how soon, after an
event: owner-killed (SIGKILL, TerminateProcess), both-killed (owner and supervisor
at once), supervisor-killed, leader-exit (the command's first process), owner-exit.

With NAME the details are shown: what the strategy requires, what escapes it, and
the contract that its supervisor keeps. Whether a strategy works on this host is
found by trying it.`

const describeExample = `  contain describe
  contain describe linux/subreaper
  contain describe --platform windows
  contain describe -o json | jq -r .active`

// probeTimeout bounds the time that all probes may take together.
const probeTimeout = 10 * time.Second

// newDescribe returns the describe command.
func newDescribe() *cobra.Command {
	var platform, output string
	cmd := &cobra.Command{
		Use:               "describe [NAME]...",
		Short:             "List the strategies: what each promises, and whether it works here",
		Long:              describeLong,
		Example:           describeExample,
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, names []string) error {
			render, err := renderer(cmd, output, len(names) > 0)
			if err != nil {
				return err
			}
			entries, err := choose(cmd, registry.Default(), registry.Platform(platform), names)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
			defer cancel()
			report := newReport(ctx, registry.Default(), registry.CurrentPlatform(), entries)
			report.Enclosing = findEnclosing()
			text, err := render(report)
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), text)
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", "only the strategies that apply on `PLATFORM`, such as linux")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(platforms(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// renderer returns what turns a description into the text of that format.
func renderer(cmd *cobra.Command, format string, details bool) (func(description) (string, error), error) {
	switch {
	case format == "json":
		return renderJSON, nil
	case format != "table":
		return nil, usageError(cmd, "unknown output format %q; known: table, json", format)
	case details:
		return func(d description) (string, error) { return renderDetails(d), nil }, nil
	}
	return func(d description) (string, error) { return renderTable(d), nil }, nil
}

func renderJSON(d description) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(d)
	return b.String(), err
}

// platforms are those that Go knows, which is what a Platform can be.
func platforms() []string {
	return []string{"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux",
		"netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows"}
}

// choose returns the strategies to show: of one platform ("" means all) and of
// those names (none means all), in the order in which they are shown.
func choose(cmd *cobra.Command, reg *registry.Registry, platform registry.Platform, names []string) ([]ranked, error) {
	if cmd.Flags().Changed("platform") && !slices.Contains(platforms(), string(platform)) {
		return nil, usageError(cmd, "unknown platform %q; known: %s", platform, strings.Join(platforms(), ", "))
	}
	for _, name := range names {
		if _, err := reg.Lookup(name); err != nil {
			return nil, err
		}
	}
	chosen := rank(reg, registry.CurrentPlatform(), platform)
	if len(names) == 0 {
		return chosen, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(chosen, func(r ranked) bool { return r.d.Name == name }) {
			return nil, usageError(cmd, "%s does not apply on %s", name, platform)
		}
	}
	return slices.DeleteFunc(chosen, func(r ranked) bool { return !slices.Contains(names, r.d.Name) }), nil
}

func strategyNames(reg *registry.Registry) []string {
	var names []string
	for _, s := range reg.All() {
		names = append(names, s.Describe().Name)
	}
	return names
}

func completeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return strategyNames(registry.Default()), cobra.ShellCompDirectiveNoFileComp
}

func completeRequirements(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []cobra.Completion
	for _, e := range registry.Events() {
		for _, r := range []registry.Reach{registry.ReachTree, registry.ReachChild} {
			all = append(all, registry.Requirement{Event: e, Reach: r}.String())
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
