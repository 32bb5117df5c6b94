// Package audit does in its initialisation what no helper process may do. Its import
// path sorts before those of the strategies, so it is initialised before them.
package audit

import "os"

// File is truncated whenever this package is initialised.
var File, _ = os.Create("audit.log")

func init() {
	_, _ = os.Stdout.WriteString("banner\n")
	if os.Getenv("HOST") == "" {
		os.Exit(3)
	}
}
