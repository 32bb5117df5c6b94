package linux

import "sync"

// process is all that is in force for this process as a whole, whichever installation
// came first. Everything else is each installation's own, or a fact that does not change.
var process struct {
	binding  binding
	threads  threads
	services services
	images   images
	// probed has the supervisors that were seen to work here: of probeKey to entry.Way.
	probed sync.Map
}
