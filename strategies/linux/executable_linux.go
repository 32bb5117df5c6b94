package linux

import (
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
	"github.com/seed329817d7/contain/strategies/internal/entry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

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

// probe starts a supervisor without a backend: once for each executable.
func (i *supervised) probe(ctx context.Context) error {
	key := probeKey{i.executable, i.image, i.initFlags, false}
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
	image      int // whose path it is: a file may be replaced
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
