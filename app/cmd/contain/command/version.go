package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version can be stamped: go build -ldflags "-X github.com/seed329817d7/contain/app/cmd/contain/command.version=v1.2.3".
var version string

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, revision, Go version and platform",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			return write(cmd.OutOrStdout(), versionLine(version, info))
		},
	}
}

// versionLine prefers the stamp to what the go command has recorded, and leaves
// out what neither knows.
func versionLine(stamp string, info *debug.BuildInfo) string {
	var revision string
	if info != nil {
		if stamp == "" {
			stamp = info.Main.Version
		}
		settings := make(map[string]string, len(info.Settings))
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if r := settings["vcs.revision"]; r != "" {
			revision = " (revision " + r
			if settings["vcs.modified"] == "true" {
				revision += ", modified"
			}
			revision += ")"
		}
	}
	if stamp == "" {
		stamp = "(devel)"
	}
	return fmt.Sprintf("contain %s%s %s %s/%s\n", stamp, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
