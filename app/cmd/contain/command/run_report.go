package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed329817d7/contain/app/cmd/contain/internal/launch"
	"github.com/seed329817d7/contain/registry"
)

// runReport is the JSON that --report writes.
type runReport struct {
	Schema  int      `json:"schema"` // 1
	Command []string `json:"command"`
	// Strategy is the one that CMD was started under, "" if it was not started.
	Strategy string `json:"strategy"`
	// ExitCode is contain's own, after --exit-map.
	ExitCode int `json:"exitCode"`
	// Status is CMD's own exit code, null if it died of Signal or was not started.
	Status *int `json:"status"`
	// Signal is the number of the signal that CMD died of, 0 if of none.
	Signal  int       `json:"signal"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	// Killed is how many processes had to be ended by force.
	Killed int `json:"killed"`
	// KilledProcesses are up to 100 of them.
	KilledProcesses []registry.Member `json:"killedProcesses"`
	// Error is what contain said if it failed, or could not execute CMD.
	Error string `json:"error,omitempty"`
}

// newRunReport says how a run ended; final is what contain exits with.
func newRunReport(command []string, began time.Time, r registry.RunResult, killed killedList, failed, final error) runReport {
	rep := runReport{
		Schema: 1, Command: command, Strategy: r.Strategy, ExitCode: launch.ExitCode(final),
		Signal: r.Signal, Started: began.Round(0), Seconds: time.Since(began).Seconds(), Killed: r.Forced, KilledProcesses: append([]registry.Member{}, killed...),
	}
	if failed != nil {
		rep.Error = launch.OneLine(failed)
	}
	if r.Strategy != "" && r.Signal == 0 && r.ExitCode >= 0 {
		rep.Status = &r.ExitCode
	}
	return rep
}

// killedList is who had to be killed, as far as a report has room.
type killedList []registry.Member

func (l *killedList) add(m registry.Member) {
	const most = 100
	if len(*l) < most {
		*l = append(*l, m)
	}
}

// reportFile is where a report will be written.
type reportFile struct {
	path   string
	source string      // what the user named it by
	old    os.FileInfo // of the file that it replaces, nil if there is none
}

// openReport finds out whether a report can be written to name. It leaves
// nothing there: there is no report until all is over.
func openReport(source, name string) (*reportFile, error) {
	r := &reportFile{path: name, source: source}
	path, err := filepath.Abs(name)
	if err == nil {
		path, r.old, err = replaceable(path)
	}
	if err == nil {
		r.path = path
		var f *os.File
		if f, err = r.create(); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return nil, r.error(err)
	}
	return r, nil
}

func (r *reportFile) error(err error) error {
	return fmt.Errorf("write the report to %s: %w; give %s a file in a directory that may be written to", r.path, err, r.source)
}

// replaceable returns the file that a report at path replaces: not a symbolic
// link but where it leads, and never a device or a pipe. It is one that can be
// written to: the kernel, too, follows no link to it that it distrusts
// (fs.protected_symlinks, proc_sys_fs(5)).
func replaceable(path string) (string, os.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			return "", nil, errors.New("it is a link that leads nowhere")
		}
		return path, nil, nil
	case err != nil:
		return "", nil, err
	case !info.Mode().IsRegular():
		return "", nil, errors.New("it is there and is not a regular file")
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return "", nil, err
	}
	// /dev/stdout and /dev/fd/1 are links to whatever is open there: to replace
	// that file would part it from those who write to it.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil && (dir == "/dev" || strings.HasPrefix(dir, "/proc/")) {
		err = errors.New("it stands for a file that is open, and a report replaces its file")
	}
	if err != nil {
		return "", nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", nil, err
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(info, now) {
		return "", nil, fmt.Errorf("it has become another file (%v)", err)
	}
	return path, info, nil
}

// create makes a new file beside the report's place, with the owner and mode of the
// one that it replaces.
func (r *reportFile) create() (*os.File, error) {
	name := fmt.Sprintf("%s.%d-%d.tmp", r.path, os.Getpid(), time.Now().UnixNano())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil || r.old == nil {
		return f, err
	}
	// First the owner: a change of it may take bits off the mode.
	if err = keepOwner(f, r.old); err == nil {
		err = f.Chmod(r.old.Mode())
	}
	if err != nil {
		_, _ = f.Close(), os.Remove(name)
		return nil, fmt.Errorf("give the new file the owner and mode of the old: %w", err)
	}
	return f, nil
}

// write puts the report in its place, whole.
func (r *reportFile) write(rep runReport) error {
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	f, err := r.create()
	if err != nil {
		return r.error(err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), r.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return r.error(err)
	}
	return nil
}
