package windows

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed329817d7/contain/registry"
)

// TestPackaged: what Windows would run outside of the job is refused before it is
// started. The same program started from elsewhere is the control.
func TestPackaged(t *testing.T) {
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := func(elements ...string) string {
		path := filepath.Join(append([]string{dir}, elements...)...)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, self, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	packaged := program("WindowsApps", "Vendor.App_1.0.0.0_x64__8wekyb3d8bbwe", "app.exe")
	plain := program("Microsoft", "WindowsApps", "app.exe") // no alias, but where aliases are
	isolated(t, func(t *testing.T) {
		in := mustInstall(t)
		start := func(path, dir string, breakaway bool) error {
			cmd := roleOf(&exec.Cmd{Path: path, Args: []string{path}, Dir: dir}, "exit")
			_, err := registry.Start(in, cmd, registry.StartOptions{Breakaway: breakaway})
			if err == nil {
				_ = cmd.Wait()
			} else if cmd.Process != nil {
				t.Errorf("%s was started and refused", path)
			}
			return err
		}
		var e *registry.Error
		if err := start(packaged, "", false); !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &e) {
			t.Errorf("a packaged program: %v", err)
		}
		if err := start("app.exe", filepath.Dir(packaged), false); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a packaged program, by its directory: %v", err)
		}
		if err := start(packaged, "", true); err != nil {
			t.Errorf("a packaged program that may break away: %v", err)
		}
		if err := start(plain, "", false); err != nil {
			t.Errorf("a plain program: %v", err)
		}
		replace(t, func(s *system) { s.reparseTag = func(string) uint32 { return tagAppExecLink } })
		if err := start(plain, "", false); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("an alias: %v", err)
		}
	})
}
