// Package registry says what a containment strategy is, holds the strategies a
// program knows, ranks them, and resolves which of them is to be in force.
//
// contain keeps a process tree from outliving its owner. Four words are kept
// apart here and everywhere else:
//
//   - declared: what a strategy promises, as data ([Description]);
//   - probed: whether it can work on this host, found by trying ([Prober]);
//   - installed: what is in force in this process ([Installation]);
//   - proved: what a drill with real processes has shown (package registrytest).
//
// The owner is the service that starts things. A backend is one command it
// starts; the leader is that command's first process, and the tree is all that
// descends from it, daemonised or not.
//
// The package imports the standard library only, so that a third party's
// strategy can depend on it for nothing. Strategies register themselves from
// init, as database/sql drivers do:
//
//	func init() { registry.Default().MustRegister(New()) }
package registry
