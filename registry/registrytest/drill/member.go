//go:build linux || windows || darwin

package drill

import (
	"fmt"
	"os"
)

// The shapes that members have. Which there are depends on the system.
const (
	shapeOwner    = "owner"
	shapeRelay    = "relay"
	shapeLeader   = "leader"
	shapeChild    = "child"     // a plain one; it holds the backend's standard output
	shapeIgnoring = "ignoring"  // ignores TERM, INT and HUP
	shapeSetsid   = "setsid"    // in a session of its own
	shapeDaemon   = "daemon"    // the same, and its parent has exited
	shapeBare     = "bare"      // the same, without environment and descriptors
	shapeStopped  = "stopped"   // by SIGSTOP
	shapeCrowd    = "crowd"     // one of very many
	shapeChain    = "chain"     // the first of a chain
	shapeNewGroup = "new-group" // in a process group of its own (Windows)
	shapeDetached = "detached"  // without a console (Windows)
)

// detached reports whether members of that shape have left the leader's process group.
func detached(shape string) bool {
	switch shape {
	case shapeSetsid, shapeDaemon, shapeBare, shapeNewGroup, shapeDetached:
		return true
	}
	return false
}

// playMember is the life of one process of the tree.
func playMember(s *script) {
	prepareMember(s)
	if s.DropTo != 0 {
		check("change the user", dropTo(s.DropTo))
	}
	if s.Shape == shapeCrowd {
		growCrowd(s)
	}
	report(os.Stdout, s.Shape)
	if s.Shape == shapeBare {
		sleepWithoutDescriptors()
	}
	for _, shape := range s.Branches {
		check("start the "+shape, startBranch(shape))
	}
	if s.Crowd > 0 && s.Shape != shapeCrowd {
		check("start the crowd", startCrowd(s.Crowd))
	}
	if s.Chain {
		check("start the chain", startChain())
	}
	untilReleased(os.Stdin)
}

// check ends a process whose role failed. A tree that is not complete fails its drill.
func check(what string, err error) {
	if err != nil {
		fail(fmt.Errorf("%s: %w", what, err))
	}
}

// startBranch starts a member of that shape below this process.
func startBranch(shape string) error {
	s := &script{Role: roleMember, Shape: shape}
	daemon := shape == shapeDaemon || shape == shapeBare
	if daemon {
		s = &script{Role: roleFork, Next: s}
	}
	cmd := command(s)
	cmd.SysProcAttr = shapeAttr(shape)
	if shape == shapeBare {
		cmd.Env = []string{} // nil would mean this process's
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if daemon {
		return cmd.Wait()
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// playFork is the first half of a double fork.
func playFork(s *script) {
	cmd := command(s.Next)
	cmd.Env = os.Environ()
	check("fork", cmd.Start())
}

// growCrowd starts this member's children in a heap of s.Crowd processes.
func growCrowd(s *script) {
	for _, at := range []int{2*s.At + 1, 2*s.At + 2} {
		if at < s.Crowd {
			cmd := command(&script{Role: roleMember, Shape: shapeCrowd, Crowd: s.Crowd, At: at})
			check("start the crowd", cmd.Start())
			go func() { _ = cmd.Wait() }()
		}
	}
}
