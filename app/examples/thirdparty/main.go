// Command thirdparty is contain with one more strategy: its describe, prove and run know it.
package main

import (
	"github.com/seed329817d7/contain/app/cmd/contain/command"
	_ "github.com/seed329817d7/contain/app/examples/thirdparty/strategy"
	_ "github.com/seed329817d7/contain/strategies/all"
)

func main() { command.Main() }
