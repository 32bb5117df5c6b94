// Command host has nothing but package entry, for the test that reads its code.
package main

import _ "github.com/seed329817d7/contain/strategies/internal/entry"

func main() {}
