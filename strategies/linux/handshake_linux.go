package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/proctree"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// ownPidfd refers to this process; supervisors watch it. It is nil where
// pidfd_open(2) is missing (before Linux 5.3) or refused: the end of the channel
// then is all that tells a supervisor of the owner's end.
var ownPidfd = sync.OnceValue(func() *os.File {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd of this process")
})

// handshake is the owner's side of a supervisor that is being started.
type handshake struct {
	owner   *supervised
	path    string
	channel *os.File // to the supervisor
	theirs  *os.File // its end of that
	also    []*os.File
	block   []byte
	files   []int // go with the block
	proxy   int   // its PID
	way     entry.Way
	ended   bool // the leader, before its start was reported
	status  uint32
	tie     *os.File // the supervisor ends when this is closed; nil if it is not tied
}

// rewrite makes cmd start the supervisor, and the supervisor what cmd was.
func (i *supervised) rewrite(cmd *exec.Cmd, spec *supervisor.Spec) (*handshake, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, i.error("start "+cmd.Path, fmt.Errorf("%w: %w", registry.ErrSupervisor, os.NewSyscallError("socketpair", err)))
	}
	// Non-blocking on this side only: os/exec passes theirs as it is.
	_ = unix.SetNonblock(fds[0], true)
	h := &handshake{
		owner:   i,
		path:    cmd.Path,
		channel: os.NewFile(uintptr(fds[0]), "supervisor"),
		theirs:  os.NewFile(uintptr(fds[1]), "owner"),
	}
	extra := append(cmd.ExtraFiles[:len(cmd.ExtraFiles):len(cmd.ExtraFiles)], h.theirs)
	number := 2 + len(extra)
	if f := ownPidfd(); f != nil {
		spec.OwnerFD = int(f.Fd())
	}
	if a := cmd.SysProcAttr; a != nil && a.Foreground {
		fd, err := unix.FcntlInt(uintptr(a.Ctty), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			h.close()
			return nil, execError(cmd.Path, err)
		}
		h.also = append(h.also, os.NewFile(uintptr(fd), "terminal"))
		spec.Attr.ForegroundFD = fd
	}
	if h.block, h.files, err = spec.Block(false, -1); err != nil {
		h.close()
		return nil, execError(h.path, err)
	}

	cmd.Path, cmd.Args, cmd.Dir = entry.StartMark+strconv.Itoa(i.image), []string{supervisor.Argv0}, ""
	cmd.Env = []string{supervisor.FDEnv + "=" + strconv.Itoa(number)}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok { // a program linked dynamically may need it to start
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v)
	}
	cmd.ExtraFiles = extra
	cmd.SysProcAttr = proxyAttr(cmd.SysProcAttr)
	if i.initFlags != 0 && !i.tied() {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = new(syscall.SysProcAttr)
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return h, nil
}

// start starts the proxy.
func (h *handshake) start(cmd *exec.Cmd) error {
	var err error
	if h.owner.initFlags == 0 || h.owner.tied() {
		err = cmd.Start()
	} else if differs := onThreadAs(func() { err = cmd.Start() }); differs != nil {
		err = h.owner.error("start "+h.path, fmt.Errorf("%w: %w", registry.ErrNotPassed, differs))
	}
	if err == nil {
		h.proxy = cmd.Process.Pid
		return nil
	}
	h.close()
	var pe *os.PathError
	if a := cmd.SysProcAttr; errors.As(err, &pe) && pe.Path == cmd.Path && a != nil && a.UseCgroupFD {
		return execError(h.path, pe.Err) // most likely the cgroup's fault
	}
	if errors.As(err, &pe) && pe.Path == cmd.Path {
		return h.owner.error("start "+h.path, fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, pe.Path, pe.Err))
	}
	return err // os/exec's own, such as a context that is done
}

// shake tells the supervisor about the backend and waits until the backend has
// exec'd, or for a probe, until everything is in place. By then the owner is
// watched. It waits for as long as ctx does: a busy host delays a start, and if
// proxy or supervisor ends, that is heard at once.
func (h *handshake) shake(ctx context.Context) (supervisor.Message, error) {
	stop := context.AfterFunc(ctx, func() { _ = h.channel.SetDeadline(time.Unix(1, 0)) })
	m, err := h.exchange()
	if !stop() {
		err = h.owner.error("start "+h.path, context.Cause(ctx))
	}
	if h.tie != nil && (err != nil || m.Op != supervisor.OpStarted) {
		h.tie.Close()
	}
	return m, err
}

func (h *handshake) exchange() (supervisor.Message, error) {
	h.theirs.Close()
	var none supervisor.Message
	fail := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			err = fmt.Errorf("it ended before it had started the backend; either something killed it, or the executable is not a contain supervisor (%w)", io.ErrUnexpectedEOF)
		}
		return h.owner.error("start "+h.path, fmt.Errorf("%w: %w", registry.ErrSupervisor, err))
	}
	err := h.tell()
	h.dropTheirs()
	if err != nil {
		return none, fail(fmt.Errorf("tell the supervisor what to start: %w", err))
	}
	for {
		m, err := h.receive()
		if err != nil {
			return none, fail(err)
		}
		switch m.Op {
		case supervisor.OpHello:
			h.way = entry.Way(m.C)
			if m.A != entry.Version {
				return none, fail(fmt.Errorf("it speaks version %d of the protocol, this program speaks %d; install the same version of contain", m.A, entry.Version))
			}
		case supervisor.OpRefused:
			if refusal := supervisor.Refusal(m.A); refusal == supervisor.RefusedSetup {
				return none, fail(&supervisor.StartError{Step: supervisor.StepFork, Err: syscall.Errno(m.B)})
			}
			return none, fail(fmt.Errorf("it refused: %s: %w", refusals[supervisor.Refusal(m.A)], syscall.Errno(m.B)))
		case supervisor.OpFailed:
			step, errno := supervisor.Step(m.A), syscall.Errno(m.B)
			if step > supervisor.StepGuard { // what os/exec would have met, too
				return none, execError(h.path, errno)
			}
			return none, fail(&supervisor.StartError{Step: step, Err: errno})
		case supervisor.OpLeader:
			h.ended, h.status = true, m.A
		case supervisor.OpReady, supervisor.OpStarted:
			if h.tie == nil && h.owner.tied() {
				return none, fail(errors.New("it has not handed over the pidfd that it is tied to"))
			}
			return m, nil
		}
	}
}

// giveUp ends what has been started, and returns when nothing of it runs.
func (h *handshake) giveUp(cmd *exec.Cmd) {
	var init proctree.Process
	if h.owner.initFlags != 0 && h.proxy != 0 {
		init, _ = initAndLeader(h.proxy)
	}
	if conn, err := h.channel.SyscallConn(); err == nil {
		shutdownWrite(conn)
	}
	_ = cmd.Process.Kill()
	abandon(cmd)
	_ = h.channel.SetDeadline(time.Now().Add(registry.SupervisorKillDeadline))
	_, _ = io.Copy(io.Discard, h.channel) // until the supervisor has ended
	awaitInit(init)
	h.close()
}

// tell writes the block.
func (h *handshake) tell() error {
	conn, err := h.channel.SyscallConn()
	if err != nil {
		return err
	}
	var rights []byte
	if len(h.files) > 0 {
		rights = unix.UnixRights(h.files...)
	}
	var n int
	var serr error
	err = conn.Write(func(fd uintptr) bool {
		n, serr = unix.SendmsgN(int(fd), h.block, rights, nil, unix.MSG_NOSIGNAL)
		return serr != unix.EAGAIN && serr != unix.EINTR
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", serr)
	}
	if err == nil && n < len(h.block) {
		_, err = h.channel.Write(h.block[n:])
	}
	return err
}

var refusals = map[supervisor.Refusal]string{
	supervisor.RefusedSecure: "the executable is setuid, setgid or has file capabilities",
	supervisor.RefusedPeer:   "the credentials of owner and supervisor differ",
	supervisor.RefusedSpec:   "the description of the backend could not be read",
}

func (h *handshake) dropTheirs() {
	h.theirs.Close()
	for _, f := range h.also {
		f.Close()
	}
}

func (h *handshake) close() {
	h.dropTheirs()
	h.channel.Close()
}

func readMessage(r io.Reader) (supervisor.Message, error) {
	var m supervisor.Message
	_, err := io.ReadFull(r, unsafe.Slice((*byte)(unsafe.Pointer(&m)), supervisor.MessageSize))
	return m, err
}

// argv0Name is the thread's name of a supervisor, as long as one may be.
var argv0Name = supervisor.Argv0[:15]

// abandon collects a process that was started and will not be used, and leaves
// cmd as a failed exec.Cmd.Start does. exec.Cmd.Wait would wait for the reader that
// feeds cmd.Stdin, too, which may never return; a copy of cmd does so if need be.
func abandon(cmd *exec.Cmd) {
	_, _ = cmd.Process.Wait()
	rest := *cmd
	rest.WaitDelay = time.Millisecond // then the pipes are closed
	done := make(chan struct{})
	go func() { defer close(done); _ = rest.Wait() }()
	select {
	case <-done:
		cmd.Process = nil
	case <-time.After(50 * time.Millisecond):
		// cmd.Cancel may still refer to cmd.Process, which has been collected.
	}
}
