package main

// Where the code is that is broken.
const (
	supervisorFile = "strategies/internal/entry/supervisor_linux.go"
	killFile       = "strategies/internal/entry/kill_linux.go"
	relayFile      = "strategies/internal/entry/relay_linux.go"
	proxyFile      = "strategies/internal/entry/proxy_linux.go"
	leaderFile     = "strategies/internal/entry/leader_linux.go"
	watcherFile    = "strategies/internal/entry/watcher_linux.go"
	takeoverFile   = "strategies/internal/entry/takeover_linux.go"
	machineFile    = "strategies/internal/entry/machine.go"
	initFile       = "strategies/internal/entry/init_linux.go"
	guardianFile   = "strategies/internal/entry/guardian_linux.go"
	launchFile     = "strategies/internal/supervisor/launch_linux.go"
	programFile    = "strategies/internal/entry/program_linux.go"

	linux   = "./strategies/linux"
	command = "./app/cmd/contain/command"
)

var mutants = []mutant{
	// The contract: the owner is looked at again once it is watched.
	{"the race guard is removed", supervisorFile,
		"	if r.guard() {\n		r.check(StepGuard, -int(_ESRCH))\n	}\n", "	r.guard()\n",
		linux, "^TestOwnerEndedBeforeRegistration$"},
	// The contract: what ends the tree, and with what.
	{"the owner's end is not watched", supervisorFile,
		"	r.fds[atOwner] = pollFD{fd: int32(r.Owner), events: _POLLIN}\n	r.fds[atParent]", "	r.fds[atOwner] = pollFD{fd: -1, events: _POLLIN}\n	r.fds[atParent]",
		linux, "^TestOwnerEndedBeforeRegistration$"},
	{"the owner's end is no order", machineFile,
		"		case OwnerGone, ProxyGone, StopOrdered:\n", "		case ProxyGone, StopOrdered:\n",
		linux, "^TestOwnerEnds$"},
	{"the proxy's end is no order", machineFile,
		"		case OwnerGone, ProxyGone, StopOrdered:\n", "		case OwnerGone, StopOrdered:\n",
		linux, "^TestWhoeverIsKilled$/^the_proxy$"},
	{"an order to stop is none", machineFile,
		"		case OwnerGone, ProxyGone, StopOrdered:\n", "		case OwnerGone, ProxyGone:\n",
		linux, "^TestWhoeverIsKilled$/^all_by_Kill$"},
	{"the leader's exit ends nobody", machineFile,
		"			m.state = killing\n			return Kill\n		}\n	case waiting:", "			m.state = waiting\n			return Mirror\n		}\n	case waiting:",
		linux, "^TestOnLeaderExit$"},
	{"a killed leader leaves its tree under Wait", machineFile,
		"if m.OnLeaderExit == LeaderExitWait && e == LeaderExited {", "if m.OnLeaderExit == LeaderExitWait {",
		linux, "^TestKilledLeaderTakesTheTree$"},
	{"what waits does not hear of the owner's end", machineFile,
		"		case OwnerGone, StopOrdered: // the proxy has gone by itself\n", "		case StopOrdered: // the proxy has gone by itself\n",
		linux, "^TestOwnerEndsWhatWaits$"},
	{"whoever asked the end lets go all the same", machineFile,
		"				m.OnLeaderExit = LeaderExitWait\n", "				m.OnLeaderExit = LeaderExitLeave\n",
		linux, "^TestTerminateLetsNobodyGo$"},
	{"what the leader leaves is not asked", "strategies/linux/exit_linux.go",
		"		_ = t.Terminate() // whoever", "		// whoever",
		linux, "^TestLeaderExitTerm$/linux/subreaper"},
	{"what the leader leaves has no grace", "strategies/linux/cgroup_linux.go",
		"		_ = m.group.WaitEmpty(time.Now().Add(m.grace))\n", "",
		linux, "^TestLeaderExitTerm$/linux/cgroup"},
	{"what the leader leaves is asked twice", "strategies/linux/tree_linux.go",
		"	if t.asksOnce && t.asked.Swap(true) {", "	if false {",
		linux, "^TestLeaderExitTermAsksOnce$/linux/subreaper"},
	// The ways to kill.
	{"the supervisor is no subreaper", supervisorFile,
		"	r.check(StepSubreaper, sys(_SYS_PRCTL, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))\n	if r.InitFlags == 0 {", "	if r.InitFlags == 0 {",
		linux, "^TestOwnerEnds$"},
	{"children are killed once", supervisorFile,
		"		if r.killing {\n			r.killChildren()\n		}\n		if r.InitFlags", "		if r.InitFlags",
		linux, "^TestOwnerEnds$"},
	{"the signal that kills is SIGTERM", killFile,
		"	r.openChildren()\n	r.signalChildren(r.KillSignal)\n", "	r.openChildren()\n	r.signalChildren(uintptr(_SIGTERM))\n",
		linux, "^TestOwnerEnds$|^TestWhoeverIsKilled$"},
	{"a stopped supervisor does not wake up at its proxy's end", supervisorFile,
		"		sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGCONT), 0, 0, 0)\n		r.checkChildren()", "		r.checkChildren()",
		linux, "^TestProxyKilledSupervisorStopped$"},
	{"the proxy does not take over", proxyFile,
		"		takeOverFunc(p)\n", "",
		linux, "^TestWhoeverIsKilled$/^the_supervisor$"},
	{"the proxy is no subreaper", proxyFile,
		"	sys(_SYS_PRCTL, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)\n	r.Owner", "	r.Owner",
		linux, "^TestWhoeverIsKilled$/^the_supervisor$"},
	{"who takes over kills nobody", takeoverFile,
		"		r.killChildren()\n", "",
		linux, "^TestWhoeverIsKilled$/^the_supervisor$"},
	{"the leader is not bound to the supervisor", leaderFile,
		"	Raw.must(StepPdeathsig, Raw.bindToSupervisor())\n", "",
		linux, "^TestBothKilled$"},
	{"the init is not bound to its proxy", initFile,
		"	if !r.check(StepBind, sys(_SYS_PRCTL, _PR_SET_PDEATHSIG, uintptr(_SIGKILL), 0, 0, 0)) {\n		return\n	}\n", "",
		linux, "^TestPidnsHelpersDie$"},
	{"the watcher writes no cgroup.kill", watcherFile,
		"	sys(_SYS_WRITE, uintptr(kill), uintptr(unsafe.Pointer(&one[0])), 1, 0, 0)\n	for !w.remove() {\n		killFunc(w)\n", "	_ = kill\n	for !w.remove() {\n",
		linux, "^TestCgroupOwnerEnds$"},
	{"the watcher does not watch", watcherFile,
		"	for poll(&w.fds[0], len(w.fds), -1, &w.ts) <= 0 {\n		continue\n	}\n", "	for {\n		poll(nil, 0, -1, &w.ts)\n	}\n",
		linux, "^TestCgroupOwnerEnds$"},
	// Who may be a supervisor, and for whom.
	{"a setuid executable is a supervisor", programFile,
		"	if h.secure {\n		h.refuse(RefusedSecure, _EPERM)\n	}\n", "",
		linux, "^TestRefusedUnderAtSecure$"},
	// contain run.
	{"contain run's supervisor does not end at its parent's end", supervisorFile,
		"		if r.fds[atParent].revents != 0 {\n			r.parentEnded()\n			r.signalLeader()\n		}\n", "		r.fds[atParent].fd = -1\n",
		command, "^TestRunParentEnds"},
	{"a guardian kills nobody", guardianFile,
		"			if _, _, empty := endOrphansFunc(r, 0, -1, r.KillDeadline); !empty {\n", "			if endOrphansFunc == nil {\n",
		command, "^TestRunBesideSidecar$/root/subreaper/^supervisor$"},
	{"contain run's death is noticed by a pipe alone", launchFile,
		"	r.Owner = r.Proxy ", "	r.Owner = -1 ",
		command, "^TestRunRelayHeld$/root/subreaper"},
	{"a signal that is sent twice at once comes twice", relayFile,
		" || code <= 0 && r.repeats(sig, pid) {", " {",
		"./strategies/internal/entry", "^TestRepeats$"},
	{"what is blocked at the start is not received", launchFile,
		"		entry.SetMask(r.Mask &^ relayedSet(l.ignored))\n", "",
		command, "^TestRunBlocked$/root/subreaper/named"},
	{"the command is not told its PID", leaderFile,
		"	Raw.writePID()\n", "",
		command, "^TestRunSocketActivation$/root/subreaper"},
	{"the grace never ends", supervisorFile,
		"		r.graceUntil = 0\n		r.note(StopOrdered)\n", "		r.graceUntil = 0\n",
		command, "^TestRunGrace$"},
	// The owner's side.
	{"a birth that has died before its exec is a start", "strategies/linux/cgroup_linux.go",
		"	if startErr == nil && !executed(cmd.Process.Pid) {", "	if false {",
		linux, "^TestCgroupDiesAtBirth$"},
	{"a birth that has not come to its exec yet has died", "strategies/internal/proctree/proctree_linux.go",
		" || s.Zombie {", " || true {",
		"./strategies/internal/proctree", "^TestExecuted$"},
	{"a stranger that asks for a wrapped command gets it", "strategies/linux/wrapped_linux.go",
		"	if err != nil || p.PPID != os.Getpid() {", "	if err != nil || p.PPID == 0 {",
		linux, "^TestWrappedFailsClosed$"},
	{"a backend that comes after Close lives", "strategies/internal/backends/backends.go",
		"	if closed {\n		_ = p.Kill()", "	if closed && p == nil {\n		_ = p.Kill()",
		"./strategies/internal/backends", "^TestCloseDuringStart$"},
	{"a sweep ends what is in use", "strategies/internal/cgroupfs/own_linux.go",
		"		lock, err := g.lock()\n		if err != nil {\n			continue\n		}\n", "		lock, _ := os.Open(string(g))\n",
		"./strategies/internal/cgroupfs", "^TestSweep$"},
	{"groups outside of the block are looked for", programFile,
		"	if b.Groups >= b.Size || ", "	if ",
		"./strategies/internal/entry", "^FuzzBlock$"},
	{"a context that is done cuts Close short", "app/containment/containment.go",
		"	if ctx.Err() != nil {\n		var cancel", "	if false {\n		var cancel",
		"./app/containment", "^TestClose"},
	{"a refused start leaves its pipes open", "app/containment/containment.go",
		"		_ = cmd.Start() // fails", "		// fails",
		"./app/containment", "^TestRefusedStartClosesPipes$"},
	// macOS, over a simulated kernel.
	{"a process whose parents are gone has no line", "strategies/darwin/internal/walk/tree.go",
		"t.lineage[p.Unique] || t.lineage[p.Parent] || p.ParentVersion != 0 && t.versions[p.ParentVersion]", "t.lineage[p.Unique]",
		"./strategies/darwin/internal/walk", "^TestSchedules$"},
	{"who has the sentinel is no member", "strategies/darwin/internal/walk/tree.go",
		"if t.descends(p) || t.marked(p) {", "if t.descends(p) {",
		"./strategies/darwin/internal/walk", "^TestSchedules$"},
}
