//go:build linux || darwin

package entry

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/darwin/internal/walk"
	"github.com/seed329817d7/contain/strategies/darwin/internal/xnu"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// keeper is the supervisor: the leader's parent.
type keeper struct {
	table         xnu.Table
	self, above   xnu.Process // above: the proxy
	order         Order
	channel, link *os.File
	proxy         int
	watch         *watcher
	leader        *os.Process

	looking sync.Mutex // for tree
	tree    walk.Tree

	mu     sync.Mutex
	status syscall.WaitStatus // of the leader; until it is known, that of a kill
	mirror sync.Once
}

// supervise is the life of the supervisor.
func supervise(table xnu.Table, channel, link int) {
	signals := make(chan os.Signal, 1)
	notify(signals) // and nobody reads them: ignoring them would be inherited by the leader
	k := &keeper{
		table:   table,
		channel: os.NewFile(uintptr(channel), "owner"),
		link:    os.NewFile(uintptr(link), "proxy"),
		proxy:   os.Getppid(),
		status:  syscall.WaitStatus(registry.SigKill),
	}
	unix.CloseOnExec(channel)
	unix.CloseOnExec(link)
	if err := k.arm(); err != nil {
		k.refuse(supervisor.RefusedSetup, err)
	}
	if err := k.start(); err != nil {
		k.fail(err)
	}
	// Only now, so that the leader is in the owner's session and keeps its
	// terminal. This process leads no group: it is in the proxy's.
	_, _ = unix.Setsid()
	dropFiles(channel)
	k.table.Hurry()
	k.keep()
	os.Exit(0)
}

// arm registers the owner and the proxy, and then checks again that both live:
// what exits from then on is reported.
func (k *keeper) arm() (err error) {
	if err = WriteMessage(k.channel, supervisor.Message{Op: supervisor.OpHello, A: supervisor.Version, B: uint32(k.proxy)}); err != nil {
		return err
	}
	if k.order, err = readOrder(k.channel); err != nil {
		return err
	}
	if k.watch, err = newWatcher(k.table, registry.BrokerContract()); err != nil {
		return err
	}
	if k.self, err = k.table.Lookup(os.Getpid()); err != nil {
		return err
	}
	if err = errors.Join(k.watch.exitOf(k.order.OwnerPID), k.watch.exitOf(k.proxy)); err != nil {
		return err
	}
	if k.above, err = k.table.Lookup(k.proxy); err != nil {
		return err
	}
	owner, err := k.table.Lookup(k.order.OwnerPID)
	if err != nil {
		return err
	}
	if owner.Unique != k.order.OwnerUnique || owner.Zombie || os.Getppid() != k.proxy {
		return unix.ESRCH
	}
	return nil
}

// refuse ends the supervisor before anything was started.
func (k *keeper) refuse(why supervisor.Refusal, err error) {
	var errno syscall.Errno
	errors.As(err, &errno)
	_ = WriteMessage(k.channel, supervisor.Message{Op: supervisor.OpRefused, A: uint32(why), B: uint32(errno)})
	k.endProxy(127 << 8)
}

// fail reports that the leader could not be started.
func (k *keeper) fail(err error) {
	var errno syscall.Errno
	errors.As(err, &errno)
	_ = WriteMessage(k.channel, supervisor.Message{Op: supervisor.OpFailed, A: uint32(supervisor.StepExec), B: uint32(errno)})
	k.endProxy(127 << 8)
}

func (k *keeper) endProxy(status uint32) {
	_ = WriteMessage(k.link, supervisor.Message{Op: supervisor.OpMirror, A: status, B: 1})
	os.Exit(125)
}

// start starts the leader and tells owner and proxy.
func (k *keeper) start() error {
	s := &k.order.Spec
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if s.Ignored&(1<<(sig-1)) != 0 {
			signal.Ignore(sig)
		}
	}
	files := make([]*os.File, s.Files)
	for fd := range files {
		files[fd] = os.NewFile(uintptr(fd), "backend's")
		// The finalizer of an os.File would close a number that is reused later.
		kept = append(kept, files[fd])
	}
	sentinel, inherited, err := k.plant(s.Files)
	if err != nil {
		return err
	}
	leader, err := os.StartProcess(s.Path, s.Args, &os.ProcAttr{Dir: s.Dir, Env: s.Env, Files: files, Sys: k.leaderAttr()})
	_ = unix.Close(inherited)
	if err != nil {
		return err
	}
	k.leader = leader
	k.tree = walk.Tree{Table: k.table, Self: k.self, Proxy: k.above, Group: k.leaderGroup(), Sentinel: sentinel, Added: k.watch.member}
	if p, err := k.table.Lookup(leader.Pid); err == nil {
		k.tree.Know(p)
	}
	started := supervisor.Message{Op: supervisor.OpStarted, A: uint32(leader.Pid), B: uint32(os.Getpid())}
	_ = WriteMessage(k.link, started)
	_ = WriteMessage(k.channel, started)
	return nil
}

var kept []*os.File

// sentinelFD is where the leader finds the sentinel: above what shells and programs
// use, and below the 256 that macOS lets a process have open by default.
const sentinelFD = 199

// plant makes the sentinel and leaves it open for the next process that is started.
// This process keeps both ends: while they are open no other pipe is taken for it.
func (k *keeper) plant(files int) (sentinel xnu.Pipe, inherited int, err error) {
	ends := make([]int, 2)
	if err := unix.Pipe(ends); err != nil {
		return 0, -1, os.NewSyscallError("pipe", err)
	}
	unix.CloseOnExec(ends[0])
	unix.CloseOnExec(ends[1])
	if sentinel, err = k.table.Pipe(ends[1]); err != nil {
		return 0, -1, err
	}
	lowest := sentinelFD
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		lowest = int(min(uint64(lowest), max(limit.Cur, 1)-1))
	}
	inherited, err = unix.FcntlInt(uintptr(ends[1]), unix.F_DUPFD, max(lowest, files))
	if err == unix.EINVAL { // the limit is lower than what is open
		inherited, err = unix.FcntlInt(uintptr(ends[1]), unix.F_DUPFD, files)
	}
	return sentinel, inherited, os.NewSyscallError("fcntl F_DUPFD", err)
}

// leaderAttr puts the leader where plain os/exec would: into the owner's
// process group, unless the caller asked for another. A group of its own gets
// the proxy's number, which the service knows as cmd.Process.Pid.
func (k *keeper) leaderAttr() *syscall.SysProcAttr {
	a := &k.order.Spec.Attr
	attr := &syscall.SysProcAttr{Chroot: a.Chroot, Setsid: a.Setsid, Setctty: a.Setctty, Noctty: a.Noctty, Ctty: a.Ctty}
	if a.Credential {
		attr.Credential = &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups, NoSetGroups: a.NoSetGroups}
	}
	if !a.Setsid {
		attr.Setpgid = true
		switch {
		case !a.Setpgid:
			attr.Pgid = k.order.Home
		case a.Pgid != 0:
			attr.Pgid = a.Pgid
		default:
			attr.Pgid = k.proxy
		}
	}
	return attr
}

// leaderGroup returns the group that is the backend's own, 0 if it shares one.
func (k *keeper) leaderGroup() int {
	switch a := &k.order.Spec.Attr; {
	case a.Setsid:
		return k.leader.Pid
	case a.Setpgid && a.Pgid == 0:
		return k.proxy
	}
	return 0
}

// keep runs the machine until nothing is left to do.
func (k *keeper) keep() {
	events := make(chan supervisor.Event, 16)
	changed := make(chan struct{}, 1)
	go k.watch.run(k.order.OwnerPID, k.proxy, events, changed)
	go k.listen(k.link, supervisor.ProxyGone, events)
	go k.listen(k.channel, supervisor.OwnerGone, events)
	go k.await(events)
	loop := walk.Loop{
		Machine:  supervisor.Machine{OnLeaderExit: k.order.Spec.OnLeaderExit},
		Deeds:    k,
		Events:   events,
		Changed:  changed,
		Deadline: k.order.Spec.KillDeadline,
	}
	loop.Run()
}

// listen does what is asked for over the channel or the link, until its end.
func (k *keeper) listen(from *os.File, end supervisor.Event, events chan<- supervisor.Event) {
	for {
		m, err := ReadMessage(from)
		switch {
		case err != nil:
			events <- end
			return
		case m.Op == supervisor.OpSignal:
			_ = k.leader.Signal(syscall.Signal(m.A))
		case m.Op == supervisor.OpKill:
			events <- supervisor.StopOrdered
		case m.Op == OpTerminate:
			events <- supervisor.EndAsked
			k.terminate(syscall.Signal(m.A))
		case m.Op == OpMembers:
			k.list()
		}
	}
}

func (k *keeper) await(events chan<- supervisor.Event) {
	state, err := k.leader.Wait()
	event := supervisor.LeaderExited
	if err == nil {
		k.mu.Lock()
		k.status = state.Sys().(syscall.WaitStatus)
		if k.status.Signaled() && k.status.Signal() == syscall.SIGKILL {
			event = supervisor.LeaderSIGKILLed
		}
		_ = WriteMessage(k.channel, supervisor.Message{Op: supervisor.OpLeader, A: uint32(k.status)})
		k.mu.Unlock()
	}
	events <- event
}

// terminate sends sig to every member.
func (k *keeper) terminate(sig syscall.Signal) {
	k.looking.Lock()
	defer k.looking.Unlock()
	_ = k.tree.Signal(sig) // who cannot be signalled is not gone in time either, which is reported
}

// list tells the owner who is in the tree.
func (k *keeper) list() {
	k.looking.Lock()
	_, err := k.tree.Look()
	members := k.tree.Members()
	k.looking.Unlock()
	for _, p := range members {
		_ = WriteMessage(k.channel, supervisor.Message{Op: OpMember, A: uint32(p.PID)})
	}
	_ = WriteMessage(k.channel, supervisor.Message{Op: OpMembersEnd, A: uint32(errnoOf(err))})
}

// errnoOf returns the number of an error that is not nil, EIO if it has none.
func errnoOf(err error) syscall.Errno {
	errno := syscall.EIO
	if err == nil {
		return 0
	}
	errors.As(err, &errno)
	return errno
}

// Look implements walk.Deeds.
func (k *keeper) Look() int {
	k.looking.Lock()
	defer k.looking.Unlock()
	left, err := k.tree.Look()
	if err != nil {
		return max(1, left) // unknown is not empty
	}
	return left
}

// Kill implements walk.Deeds.
func (k *keeper) Kill() int {
	k.looking.Lock()
	defer k.looking.Unlock()
	left, err := k.tree.Kill(syscall.Signal(k.order.Spec.KillSignal))
	if err != nil {
		return max(1, left)
	}
	return left
}

// Mirror implements walk.Deeds.
func (k *keeper) Mirror() {
	k.mirror.Do(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		_ = WriteMessage(k.link, supervisor.Message{Op: supervisor.OpMirror, A: uint32(k.status)})
	})
}

// Report implements walk.Deeds.
func (k *keeper) Report(late bool) {
	op := supervisor.OpEmpty
	if late {
		op = supervisor.OpLate
	}
	_ = WriteMessage(k.channel, supervisor.Message{Op: op})
}
