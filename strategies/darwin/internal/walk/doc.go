// Package walk is the part of the kqueue supervisor that is the same on every
// Unix: it keeps track of a process tree that nothing confines, kills it, and
// turns the decisions of supervisor.Machine into deeds.
//
// macOS has no subreaper: a process whose parent exits becomes launchd's child,
// and no walk finds it any more. So the tree is walked whenever one of its
// processes forks or exits, and whoever was seen once stays known by PID and
// start time.
package walk
