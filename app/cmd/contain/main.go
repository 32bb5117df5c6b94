// While a command runs contain has nothing to compute, so it need not follow
// changes of its CPU limit, as Go programs do once a second.
//
//go:debug updatemaxprocs=0

// Command contain runs a command so that nothing it starts outlives it, and
// says what each containment strategy promises on each platform.
//
// See contain --help, and contain run --help for the exit codes.
package main

import (
	"github.com/seed329817d7/contain/app/cmd/contain/command"

	// Every built-in strategy registers itself.
	_ "github.com/seed329817d7/contain/strategies/all"
)

func main() { command.Main() }
