// Package all registers every strategy of this module in the default registry.
//
//	import _ "github.com/seed329817d7/contain/strategies/all"
//
// Each is listed and describes itself on every platform; what can be installed
// is decided when the program runs.
package all

import (
	_ "github.com/seed329817d7/contain/strategies/darwin"  // darwin/kqueue
	_ "github.com/seed329817d7/contain/strategies/linux"   // linux/autokill, linux/pidns, linux/cgroup, linux/subreaper, linux/pdeathsig
	_ "github.com/seed329817d7/contain/strategies/noop"    // noop/noop
	_ "github.com/seed329817d7/contain/strategies/windows" // windows/job
)
