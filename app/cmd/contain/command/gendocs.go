package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newGendocs returns the hidden command by which a release makes what a package has beside
// the program.
func newGendocs() *cobra.Command {
	return &cobra.Command{
		Use:   "gendocs DIR",
		Short: "Write manual pages and shell completions below DIR",
		Long: `Write manual pages to DIR/man/man1, and completions for bash, fish, PowerShell and zsh
to DIR/completions. The date of the pages is that of SOURCE_DATE_EPOCH, or today.`,
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(cmd, "name one directory")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := gendocs(cmd.Root(), args[0]); err != nil {
				return fmt.Errorf("write the documents to %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func gendocs(root *cobra.Command, dir string) error {
	man, completions := filepath.Join(dir, "man", "man1"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	date, err := sourceDate()
	if err != nil {
		return err
	}
	for _, cmd := range append([]*cobra.Command{root}, root.Commands()...) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		if err := os.WriteFile(filepath.Join(man, name+".1"), []byte(manual(cmd, date)), 0o644); err != nil {
			return err
		}
	}
	for name, write := range map[string]func(string) error{
		"contain.bash": func(f string) error { return root.GenBashCompletionFileV2(f, true) },
		"contain.fish": func(f string) error { return root.GenFishCompletionFile(f, true) },
		"contain.ps1":  root.GenPowerShellCompletionFileWithDesc,
		"_contain":     root.GenZshCompletionFile,
	} {
		if err := write(filepath.Join(completions, name)); err != nil {
			return err
		}
	}
	return nil
}

// sourceDate is https://reproducible-builds.org/specs/source-date-epoch/.
func sourceDate() (time.Time, error) {
	text, set := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !set {
		return time.Now().UTC(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the environment variable SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(n, 0).UTC(), nil
}

// manual returns the page of cmd, man(7). It is written here because the package of cobra's that
// could do it brings a Markdown parser, whose initialisation costs each contain run that
// has a flag 0.4 ms and 210 KiB.
func manual(cmd *cobra.Command, date time.Time) string {
	var b strings.Builder
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %q 1 %q contain\n", strings.ToUpper(name), date.Format(time.DateOnly))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	synopsis := cmd.UseLine()
	if !cmd.HasParent() {
		synopsis += " COMMAND [FLAG]... [ARG]..."
	}
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", roff(synopsis))
	b.WriteString(".SH DESCRIPTION\n" + roffText(cmd.Long))
	if commands := cmd.Commands(); !cmd.HasParent() {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range commands {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(c.Name()), roff(c.Short))
			}
		}
	}
	cmd.InitDefaultHelpFlag()
	b.WriteString(".SH OPTIONS\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(strings.TrimSpace(text+" "+value)), roff(usage))
	})
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	b.WriteString(".SH SEE ALSO\n" + seeAlso(cmd) + "\n")
	return b.String()
}

// seeAlso names the other pages.
func seeAlso(cmd *cobra.Command) string {
	var pages []string
	for _, c := range append([]*cobra.Command{cmd.Root()}, cmd.Root().Commands()...) {
		if c != cmd && (c == cmd.Root() || c.IsAvailableCommand()) {
			pages = append(pages, fmt.Sprintf(".BR %s (1)", roff(strings.ReplaceAll(c.CommandPath(), " ", "-"))))
		}
	}
	return strings.Join(pages, " ,\n")
}

// roffText has a paragraph for each of text's, and leaves indented lines as they are.
func roffText(text string) string {
	var b strings.Builder
	verbatim := false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		if indented := strings.HasPrefix(line, "  "); indented != verbatim {
			verbatim = indented
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[verbatim])
		}
		if line == "\n" {
			line = ".PP\n"
		} else {
			line = roff(line)
		}
		b.WriteString(line)
	}
	if verbatim {
		b.WriteString(".fi\n")
	}
	return b.String()
}

// roff writes text so that it means itself, groff(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "")
}
