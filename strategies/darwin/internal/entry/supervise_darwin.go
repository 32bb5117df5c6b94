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
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// keeper is the supervisor: the leader's parent.
type keeper struct {
	order         Order
	channel, link *os.File
	proxy         int
	watch         *watcher
	tree          walk.Tree
	leader        *os.Process

	mu     sync.Mutex
	status syscall.WaitStatus // of the leader; until it is known, that of a kill
	mirror sync.Once
}

// supervise is the life of the supervisor.
func supervise(channel, link int) {
	signals := make(chan os.Signal, 1)
	notify(signals) // and nobody reads them: ignoring them would be inherited by the leader
	k := &keeper{
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
	if k.watch, err = newWatcher(registry.BrokerContract()); err != nil {
		return err
	}
	if err = errors.Join(k.watch.exitOf(k.order.OwnerPID), k.watch.exitOf(k.proxy)); err != nil {
		return err
	}
	owner, err := proctree.Lookup(k.order.OwnerPID)
	if err != nil {
		return err
	}
	if owner.Start != k.order.OwnerStart || owner.Zombie || os.Getppid() != k.proxy {
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
	leader, err := os.StartProcess(s.Path, s.Args, &os.ProcAttr{Dir: s.Dir, Env: s.Env, Files: files, Sys: k.leaderAttr()})
	if err != nil {
		return err
	}
	k.leader = leader
	k.tree = walk.Tree{Table: walk.System{}, Self: os.Getpid(), Proxy: k.proxy, Group: k.leaderGroup(), Added: k.watch.member}
	if p, err := proctree.Lookup(leader.Pid); err == nil {
		k.tree.Know(p)
	}
	started := supervisor.Message{Op: supervisor.OpStarted, A: uint32(leader.Pid), B: uint32(os.Getpid())}
	_ = WriteMessage(k.link, started)
	_ = WriteMessage(k.channel, started)
	return nil
}

var kept []*os.File

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
		case m.Op == supervisor.OpEndAsked:
			events <- supervisor.EndAsked
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

// Look implements walk.Deeds.
func (k *keeper) Look() int {
	if _, err := k.tree.Scan(); err != nil {
		return max(1, len(k.tree.Members())) // unknown is not empty
	}
	return len(k.tree.Members())
}

// Kill implements walk.Deeds.
func (k *keeper) Kill() int {
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
