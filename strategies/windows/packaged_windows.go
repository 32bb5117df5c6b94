package windows

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// tagAppExecLink is IO_REPARSE_TAG_APPEXECLINK, of an app execution alias:
// https://learn.microsoft.com/openspecs/windows_protocols/ms-fscc/c8e77b37-3909-4fe6-a4ea-2b9d423b1ee4
const tagAppExecLink = 0x8000001b

// refusePackaged fails if the program is from an MSIX package, as those of the
// Store and of winget are. Windows runs a package in a job of the package's own,
// outside of ours, and assigning the leader would not bring back what that starts.
func refusePackaged(cmd *exec.Cmd) error {
	path := cmd.Path
	if cmd.Dir != "" && !filepath.IsAbs(path) {
		path = filepath.Join(cmd.Dir, path)
	}
	var how string
	switch {
	case sys.reparseTag(path) == tagAppExecLink:
		how = "is an app execution alias, which starts a packaged program"
	case inPackage(path):
		how = "belongs to a packaged program (WindowsApps)"
	default:
		return nil
	}
	return fmt.Errorf("%s %s: what that starts would be outside of the job; install the program from elsewhere than the Store, or start it with Breakaway: %w", cmd.Path, how, errors.ErrUnsupported)
}

// reparseTag returns the tag of a reparse point, 0 for anything else.
func reparseTag(path string) uint32 {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0
	}
	var found windows.Win32finddata
	h, err := windows.FindFirstFile(p, &found)
	if err != nil {
		return 0
	}
	_ = windows.FindClose(h)
	if found.FileAttributes&windows.FILE_ATTRIBUTE_REPARSE_POINT == 0 {
		return 0
	}
	return found.Reserved0 // the tag, for a reparse point
}

// inPackage reports whether path lies in a directory for packages, such as
// C:\Program Files\WindowsApps. Microsoft\WindowsApps, for a user's aliases, is none.
func inPackage(path string) bool {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	before := ""
	for _, name := range strings.Split(filepath.Dir(path), `\`) {
		if strings.EqualFold(name, "WindowsApps") && !strings.EqualFold(before, "Microsoft") {
			return true
		}
		before = name
	}
	return false
}
