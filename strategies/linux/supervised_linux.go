package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/backends"
	"github.com/seed329817d7/contain/strategies/internal/entry"
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

// supervised is the installation of every strategy whose backends run below a
// supervisor of their own.
type supervised struct {
	strategy   string
	cleanup    registry.Cleanup
	executable string // the path of the supervisor's, see ownExecutable
	image      int    // a descriptor of it, never closed
	// initFlags makes the supervisor the init of a PID namespace, and ties the
	// proxy to this process by a parent-death signal.
	initFlags uint64
	// runBy, if not nil, is what Run runs in place of supervisor.Run.
	runBy    func(context.Context, *supervisor.RunSpec) (supervisor.Result, error)
	backends backends.Set
}

// newSupervised finds the executable that serves as the supervisor and starts
// it once, to see that it does.
func newSupervised(ctx context.Context, strategy string, initFlags uint64, opts registry.InstallOptions) (*supervised, error) {
	i, err := findSupervisor(strategy, initFlags, opts)
	if err == nil {
		err = i.probe(ctx)
	}
	if err != nil {
		return nil, (&supervised{strategy: strategy}).error("install", err)
	}
	return i, nil
}

// ownExecutable is this process's. It is not os.Executable's path, whose file may have been
// replaced since.
const ownExecutable = "/proc/self/exe"

// ownWay returns the way in which supervisors begin that are this executable, "" if none has
// been started yet.
func ownWay() (way string) {
	process.probed.Range(func(key, _ any) bool {
		if key := key.(probeKey); key.executable == ownExecutable {
			way = key.way()
		}
		return way == ""
	})
	return way
}

// SupervisorWay implements [registry.Supervised].
func (subreaper) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (cgroup) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (pidns) SupervisorWay() string { return ownWay() }

// SupervisorWay implements [registry.Supervised].
func (autokill) SupervisorWay() string { return ownWay() }

// findSupervisor finds the executable.
func findSupervisor(strategy string, initFlags uint64, opts registry.InstallOptions) (*supervised, error) {
	i := &supervised{strategy: strategy, executable: ownExecutable, initFlags: initFlags}
	if opts.Supervisor != "" {
		i.executable = opts.Supervisor
	} else if mode := buildMode(); mode != "" {
		return nil, i.error("install", fmt.Errorf("%w: this is a %s build inside another program, which cannot be started again as a supervisor; set Supervisor to an installed contain command", errors.ErrUnsupported, mode))
	}
	if !supervisor.Helpers {
		return nil, i.error("install", fmt.Errorf("%w: there is no supervisor for %s", errors.ErrUnsupported, runtime.GOARCH))
	}
	var err error
	if i.image, err = openImage(i.executable); err != nil {
		return nil, i.error("install", fmt.Errorf("%w: %w: %w", errors.ErrUnsupported, registry.ErrSupervisor, err))
	}
	return i, nil
}

// openImage returns a descriptor of an executable, close-on-exec and never closed, by
// which it is executed whatever becomes of its path: one for each file.
func openImage(path string) (int, error) {
	images := &process.images
	images.mu.Lock()
	defer images.mu.Unlock()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	key := imageKey{st.Dev, st.Ino}
	if have, ok := images.open[key]; ok {
		return have, nil
	}
	if fd, err = outOfTheWay(fd); err != nil {
		return -1, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	if images.open == nil {
		images.open = make(map[imageKey]int)
	}
	images.open[key] = fd
	return fd, nil
}

// outOfTheWay duplicates a descriptor to a high number. In the child, where the path
// of the helper is looked up, package syscall lays the command's own files from 0 on,
// and before that may move them to numbers behind the highest of them.
func outOfTheWay(fd int) (high int, err error) {
	for _, from := range [...]int{800, 200, 100, 50, 20} { // as the limit on open files allows
		if high, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, from); err != unix.EINVAL {
			break
		}
	}
	return high, err
}

type imageKey struct{ dev, ino uint64 }

// images are descriptors of supervisors' executables, which are never closed.
type images struct {
	mu   sync.Mutex
	open map[imageKey]int
}

// error wraps err unless it is wrapped already.
func (i *supervised) error(op string, err error) error {
	var own *registry.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &registry.Error{Op: op, Strategy: i.strategy, Err: err}
}

// buildMode returns c-shared, c-archive or plugin, or "" for a program.
var buildMode = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-buildmode" && s.Value != "exe" && s.Value != "pie" {
				return s.Value
			}
		}
	}
	return ""
})

// tied reports whether supervisors are tied to a pidfd of theirs.
func (i *supervised) tied() bool { return i.initFlags&entry.CloneTied != 0 }

func (i *supervised) Cleanup() registry.Cleanup { return i.cleanup }

// SupervisorWay implements [registry.Supervised].
func (i *supervised) SupervisorWay() string {
	return probeKey{i.executable, i.initFlags, false}.way()
}

func (i *supervised) Close(ctx context.Context) error {
	return i.backends.Close(ctx, i.strategy)
}

// probe starts a supervisor without a backend: once for each executable.
func (i *supervised) probe(ctx context.Context) error {
	key := probeKey{i.executable, i.initFlags, false}
	if _, done := process.probed.Load(key); done || ctx.Err() != nil {
		return ctx.Err()
	}
	spec := newSpec()
	spec.Probe, spec.Files, spec.InitFlags = true, 3, i.initFlags
	cmd := exec.Command(i.executable)
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return err
	}
	defer h.close()
	if err := cmd.Start(); err != nil {
		return refusal(fmt.Errorf("%w: start %s: %w", registry.ErrSupervisor, i.executable, err))
	}
	if err := h.shakeFirst(ctx, cmd); err != nil {
		return err
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	process.probed.Store(key, h.way)
	return nil
}

type probeKey struct {
	executable string
	initFlags  uint64
	watch      bool // linux/cgroup's
}

// way returns the way in which the helper began, "" if it has not.
func (k probeKey) way() string {
	if way, ok := process.probed.Load(k); ok {
		return way.(entry.Way).String()
	}
	return ""
}

func (i *supervised) Start(cmd *exec.Cmd, opts registry.StartOptions) (registry.Process, error) {
	if err := i.backends.Begin("start "+cmd.Path, i.strategy); err != nil {
		return nil, err
	}
	defer i.backends.End()
	spec, err := i.admit(cmd, opts)
	if err != nil {
		return nil, registry.Refuse(cmd, err)
	}
	h, err := i.rewrite(cmd, spec)
	if err != nil {
		return nil, err
	}
	before := *cmd
	if err := h.start(cmd); err != nil {
		return nil, err
	}
	m, err := h.shake(i.backends.Closing())
	if err != nil {
		h.giveUp(cmd)
		return nil, cmp.Or(contextEnded(&before), err)
	}
	t := newTree(h, cmd, &i.backends)
	t.started(m) // before a Close can see it: that ends what it knows of
	t.ask(opts)
	i.backends.Add(t)
	go t.follow()
	return t, nil
}

// admit describes cmd to the supervisor, or says what speaks against a start.
func (i *supervised) admit(cmd *exec.Cmd, opts registry.StartOptions) (*supervisor.Spec, error) {
	var spec *supervisor.Spec
	err := i.passable(opts)
	if err == nil {
		spec, err = i.specFor(cmd, opts.OnLeaderExit)
	}
	return spec, i.attributeError("start "+cmd.Path, err)
}

// attributeError names the strategy in an error about what cannot be passed,
// and leaves those that os/exec would have returned as they are.
func (i *supervised) attributeError(op string, err error) error {
	if errors.Is(err, registry.ErrNotPassed) || errors.Is(err, errors.ErrUnsupported) {
		return i.error(op, err)
	}
	return err
}
