package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/plain"
)

// Command returns the command to run, with this process's streams and its name as
// typed for argv[0]. The error carries an exit code.
func Command(args []string) (*exec.Cmd, error) {
	path, err := lookPath(args[0])
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: path, Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, nil
}

// lookPath finds a command as a shell does, and says why it does not. exec.LookPath alone
// refuses the current directory even where PATH lists it, and does not tell a file in PATH
// that may not be executed from one that is not there.
func lookPath(name string) (string, error) {
	if path := plain.LookPath(name, os.Environ()); path != "" {
		return path, nil
	}
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot) && runtime.GOOS != "windows":
		return "." + string(filepath.Separator) + path, nil
	case errors.Is(err, exec.ErrDot):
		return "", &ExitError{ExitNotFound, fmt.Errorf(`%s: not found in PATH, only in the current directory; name it .\%[1]s`, name)}
	case errors.Is(err, exec.ErrNotFound):
		if cause := notExecutable(name); cause != nil {
			return "", cannotExecute(name, cause)
		}
	}
	var lookup *exec.Error
	if errors.As(err, &lookup) {
		err = lookup.Err
	}
	if isMissing(err) {
		return "", &ExitError{ExitNotFound, fmt.Errorf("%s: not found", name)}
	}
	return "", cannotExecute(name, err)
}

// notExecutable returns why a file of that name, which is there, cannot be
// executed, or nil if there is none.
func notExecutable(name string) error {
	if filepath.Base(name) != name {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil
		case info.IsDir():
			return syscall.EISDIR
		}
		return fs.ErrPermission
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			return fs.ErrPermission
		}
	}
	return nil
}

// AsScript returns the command that runs cmd as a shell's script, if err says that
// the system knows no format of its file, and nil otherwise: as execvp(3), env and
// nohup do. Not if there is a NUL in its first line, as in a program for another
// machine.
func AsScript(cmd *exec.Cmd, err error) *exec.Cmd {
	if runtime.GOOS == "windows" || !errors.Is(execFailure(err, cmd.Path), syscall.ENOEXEC) || isBinary(cmd.Path) {
		return nil
	}
	const shell = "/bin/sh"
	return &exec.Cmd{Path: shell, Args: append([]string{shell, cmd.Path}, cmd.Args[1:]...), Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr}
}

// isBinary reports whether there is a NUL in the first line of a file, or the file
// cannot be read.
func isBinary(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return true
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	return bytes.IndexByte(line, 0) >= 0
}

// isMissing reports whether err says that there is no such file. A component
// that is no directory, a loop and a name that is too long count as that, as
// they do in a shell.
func isMissing(err error) bool {
	for _, e := range []error{exec.ErrNotFound, fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// execFailure returns why the system would not execute path, or nil if err does
// not say so: a file that contain itself needed may be missing as well. err may
// be a tree of errors of several attempts.
func execFailure(err error, path string) error {
	var failed *fs.PathError
	if errors.As(err, &failed) && failed.Path == path {
		for _, ours := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
			if errors.Is(failed.Err, ours) {
				return nil // the fork failed, not the exec
			}
		}
		return failed.Err
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return execFailure(e.Unwrap(), path)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if cause := execFailure(err, path); cause != nil {
				return cause
			}
		}
	}
	return nil
}

// Explain returns err, of a run of cmd, with an exit code if cmd could not be executed.
func Explain(cmd *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	if cause := execFailure(err, cmd.Path); cause != nil {
		return cannotExecute(cmd.Args[0], cause)
	}
	return err
}

// cannotExecute says why a file that is there could not be executed. "Not
// found" then is about its interpreter, and counts as not found (execve(2), ENOENT).
func cannotExecute(name string, cause error) error {
	if isMissing(cause) {
		return &ExitError{ExitNotFound, fmt.Errorf("%s: its interpreter was not found (its #! line, or the dynamic loader that it names)", name)}
	}
	return &ExitError{ExitNotExecutable, fmt.Errorf("%s: %w", name, cause)}
}
