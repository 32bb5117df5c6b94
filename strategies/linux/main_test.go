//go:build linux

package linux

import (
	"fmt"
	"os"
	"testing"
)

// RoleEnv names the role that this test binary plays when a test starts it
// again: a test that changes its process, or kills it, does so in a child.
const RoleEnv = "CONTAIN_TEST_ROLE"

// Roles holds what such a child does, by name. Add to it from an init function
// or a variable; the child exits with 0 when the function returns.
var Roles = map[string]func(){}

func TestMain(m *testing.M) {
	name := os.Getenv(RoleEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	// A child of this one plays no role unless it is told to.
	_ = os.Unsetenv(RoleEnv)
	role, ok := Roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no role %q in this test binary\n", name)
		os.Exit(3)
	}
	role()
	os.Exit(0)
}
