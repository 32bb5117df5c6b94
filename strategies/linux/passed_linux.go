package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed329817d7/contain/registry"
	"github.com/seed329817d7/contain/strategies/internal/supervisor"
)

// specFor describes cmd to the supervisor, or says what cannot be passed.
func (i *supervised) specFor(cmd *exec.Cmd, onExit registry.LeaderExit) (*supervisor.Spec, error) {
	for _, kv := range cmd.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, errNulInEnv
		}
	}
	if cmd.Env == nil && strings.IndexByte(cmd.Dir, 0) >= 0 { // PWD
		return nil, errNulInEnv
	}
	s := newSpec()
	s.InitFlags = i.initFlags
	s.Path, s.Dir = cmd.Path, cmd.Dir
	s.Args = cmd.Args
	if len(s.Args) == 0 {
		s.Args = []string{cmd.Path}
	}
	if s.Env = os.Environ(); cmd.Env != nil || cmd.Dir != "" {
		s.Env = cmd.Environ()
	}
	s.Files = 3 + len(cmd.ExtraFiles)
	s.OnLeaderExit = toldExit(onExit)
	s.Ignored = supervisor.IgnoredSignals()
	if err := passAttr(&s.Attr, cmd.SysProcAttr); err != nil {
		return nil, err
	}
	if err := wellFormed(cmd, s); err != nil {
		return nil, execError(cmd.Path, err)
	}
	return s, reachable(cmd)
}

// errNulInEnv is what os/exec says.
var errNulInEnv = errors.New("exec: environment variable contains NUL")

// wellFormed returns what package syscall finds wrong before it forks.
func wellFormed(cmd *exec.Cmd, s *supervisor.Spec) error {
	for _, v := range append([]string{s.Path, s.Dir, s.Attr.Chroot}, s.Args...) {
		if strings.IndexByte(v, 0) >= 0 {
			return unix.EINVAL
		}
	}
	switch a := cmd.SysProcAttr; {
	case a == nil || !a.Setctty:
		return nil
	case a.Foreground:
		return errors.New("both Setctty and Foreground set in SysProcAttr")
	case a.Ctty >= 3+len(cmd.ExtraFiles):
		//lint:ignore ST1005 package syscall says it so
		return errors.New("Setctty set but Ctty not valid in child")
	}
	return nil
}

// newSpec returns a Spec that honours the contract.
func newSpec() *supervisor.Spec {
	contract := registry.PidfdContract()
	s := supervisor.NewSpec()
	s.KillDeadline, s.KillSignal = contract.KillDeadline, int(contract.Signal)
	return s
}

// passAttr translates a, or says what of it cannot be passed.
func passAttr(to *supervisor.Attr, a *syscall.SysProcAttr) error {
	if a == nil {
		return nil
	}
	if err := pdeathsigIsOurs(a); err != nil {
		return err
	}
	refused := func(field, why string) error {
		return fmt.Errorf("%w: SysProcAttr.%s: %s", registry.ErrNotPassed, field, why)
	}
	const cloned = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	if err := fitsClone(a); err != nil {
		return err
	}
	switch {
	case a.Ptrace:
		return refused("Ptrace", "the tracer would be the supervisor; trace the leader's PID instead")
	case len(a.UidMappings)+len(a.GidMappings) > 0 || a.GidMappingsEnableSetgroups:
		return refused("UidMappings and GidMappings", "the supervisor cannot write them; start the command through unshare --map-users")
	case a.Cloneflags&unix.CLONE_NEWUSER != 0:
		return refused("Cloneflags", "CLONE_NEWUSER needs ID mappings")
	case a.Cloneflags&^cloned != 0:
		return refused("Cloneflags", "the backend must remain the supervisor's own child and share nothing with it; only namespaces can be asked for")
	case a.Unshareflags&unix.CLONE_NEWUSER != 0:
		return refused("Unshareflags", "CLONE_NEWUSER needs ID mappings")
	}
	to.Chroot = a.Chroot
	if c := a.Credential; c != nil {
		to.Credential, to.UID, to.GID, to.Groups, to.NoSetGroups = true, c.Uid, c.Gid, c.Groups, c.NoSetGroups
	}
	for _, c := range a.AmbientCaps {
		to.AmbientCaps = append(to.AmbientCaps, uint32(c))
	}
	to.Setsid, to.Setpgid, to.Pgid = a.Setsid, a.Setpgid, a.Pgid
	to.Foreground, to.Setctty, to.Noctty, to.Ctty = a.Foreground, a.Setctty, a.Noctty, a.Ctty
	to.Cloneflags, to.Unshareflags = uint64(a.Cloneflags), uint64(a.Unshareflags)
	return nil
}

// fitsClone refuses the flags that clone(2), unlike clone3, has no room for: it
// takes those of the low byte for the signal of the child's end, and cuts off those
// above 32 bits.
func fitsClone(a *syscall.SysProcAttr) error {
	if a != nil && uint64(a.Cloneflags)&^(1<<32-1-unix.CSIGNAL) != 0 {
		return fmt.Errorf("%w: SysProcAttr.Cloneflags: clone(2) has no room for %#x; set Unshareflags to get a time namespace (CLONE_NEWTIME)", registry.ErrNotPassed, uint64(a.Cloneflags)&^(1<<32-1-unix.CSIGNAL))
	}
	return nil
}

// proxyAttr is what of a is applied to the proxy instead of the backend.
func proxyAttr(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	if a == nil {
		return nil
	}
	return &syscall.SysProcAttr{PidFD: a.PidFD, UseCgroupFD: a.UseCgroupFD, CgroupFD: a.CgroupFD}
}

// reachable returns the error that exec.Cmd.Start would return for a path that
// is missing or not executable and for a missing directory, before anything is
// started: a start that fails later has already taken from cmd.Stdin.
func reachable(cmd *exec.Cmd) error {
	if err := dirThere(cmd); err != nil {
		return err
	}
	if a := cmd.SysProcAttr; a != nil && (a.Chroot != "" || a.Credential != nil || a.Unshareflags != 0) {
		return nil // only the backend itself can tell
	}
	path := cmd.Path
	if cmd.Dir != "" && !filepath.IsAbs(path) {
		path = filepath.Join(cmd.Dir, path)
	}
	err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
	if err == nil {
		if st, serr := os.Stat(path); serr == nil && st.IsDir() {
			err = unix.EACCES // execve(2) of a directory
		}
	}
	if err != nil {
		return execError(cmd.Path, err)
	}
	return nil
}

// dirThere returns the error of os.StartProcess for a missing cmd.Dir, which it
// words more clearly if there is no SysProcAttr.
func dirThere(cmd *exec.Cmd) error {
	if cmd.SysProcAttr != nil || cmd.Dir == "" || strings.IndexByte(cmd.Dir, 0) >= 0 {
		return nil
	}
	_, err := os.Stat(cmd.Dir)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		pe.Op = "chdir"
	}
	return err
}

// execError is the form in which os.StartProcess reports a failed start.
func execError(path string, err error) error {
	return &fs.PathError{Op: "fork/exec", Path: path, Err: err}
}
