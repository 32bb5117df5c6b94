// Package drill shows on real processes whether a strategy keeps what it
// promises. It is the engine of registrytest.Run and of contain prove.
//
// # A drill
//
// The driver (a test, or contain prove) starts a decoy owner: this executable
// again, in another role. The owner installs one strategy and starts a backend
// through it, this executable once more, which builds a tree of processes. Each
// member reports itself to the driver, which opens an identity of it at once (a
// pidfd, a handle) and, when all have reported, lets the event happen: it kills
// the owner, for example. Then it waits until every identity that the guarantee
// is about has exited or is a zombie, and counts those that have not.
//
// There are two more witnesses. Members hold the writing end of the channel that
// they reported on, so its end shows that nobody is left that keeps its
// descriptors: the only witness of a tree in which each process forks its
// successor and exits. And on Linux every member is found in /proc by a word in
// its arguments that is unique to the drill. On Windows a member says when it was
// born, so that its PID cannot be taken for that of a later process,
// and who has not reported is found by its parent.
//
// # Its control
//
// The same tree meets the same event without containment, for at least as long
// as the drill took. What the event itself does not kill must survive, or the
// drill has proved nothing and counts as failed.
//
// # What is touched
//
// Only what the drill has started is ever signalled, by identity. Members end
// when the driver does, however it ends: their standard input is a pipe that the
// driver holds. A daemon without descriptors ends by a timer.
//
// The executable must call [Main] before it does anything else, best from an
// init function of its main or test package.
package drill
