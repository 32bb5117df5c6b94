// Package walk is the part of the kqueue supervisor that is the same on every
// Unix: it keeps track of a process tree that nothing confines, kills it, and
// turns the decisions of supervisor.Machine into deeds.
//
// macOS has no subreaper: a process whose parent exits becomes launchd's child,
// before that parent is a zombie (proc_exit in kern_exit.c), and no walk by current
// parents finds it any more. Two marks remain:
//
//   - its lineage: who forked it, by a number that no other process ever has. So the
//     number of every process that was once seen in the tree is kept for good, the
//     dead ones' too;
//   - the sentinel: one end of a pipe that the leader inherits, and whoever descends
//     from it, until somebody closes it.
//
// A process gets away that escapes both: whose parent was never seen because it lived
// too short a time, and that closed the descriptor before anybody looked. To make that
// time short the table is read as soon as the leader runs, whenever a member forks,
// executes or exits, and again until nobody new is found.
//
// What the coalition of a process (PROC_PIDCOALITIONINFO) could add was considered and
// is not used: it is shared with the service and with everything in its terminal, so it
// can neither name a member nor, as every member is in it, rule out a stranger.
package walk
