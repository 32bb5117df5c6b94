package command

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// distEnv names the directory that .ci/release VERSION DIR has filled. The packages in it
// are installed and run by Debian's dpkg, rpm2cpio, cpio and runc, as root.
const distEnv = "CONTAIN_DIST"

// packaged is what a package has beside contain itself.
var packaged = []string{
	"usr/share/man/man1/contain.1.gz", "usr/share/man/man1/contain-run.1.gz",
	"usr/share/bash-completion/completions/contain", "usr/share/fish/vendor_completions.d/contain.fish",
}

// TestPackages: what a release has is installed as users install it, and runs.
func TestPackages(t *testing.T) {
	dist := os.Getenv(distEnv)
	if dist == "" {
		t.Skipf("set %s to the directory of a release", distEnv)
	}
	if os.Geteuid() != 0 {
		t.Skip("it installs packages below a directory of its own, for which it needs root")
	}
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = dist
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	t.Run("deb", func(t *testing.T) {
		root := t.TempDir()
		// dpkg's own directories, and a shell for it: the package has no script to run.
		for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "usr/bin"} {
			succeed(t, os.MkdirAll(filepath.Join(root, d), 0o755))
		}
		succeed(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644))
		run(t, "dpkg", "--root="+root, "--install", artifact(t, dist, "contain_*_"+runtime.GOARCH+".deb"))
		installed(t, root, append(packaged, "usr/share/zsh/vendor-completions/_contain", "usr/share/doc/contain/copyright"))
		run(t, "dpkg", "--root="+root, "--remove", "contain")
		if _, err := os.Stat(filepath.Join(root, "usr/bin/contain")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("contain is there after the package was removed: %v", err)
		}
	})
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	t.Run("rpm", func(t *testing.T) {
		root := t.TempDir()
		run(t, "sh", "-c", `cd "$1" && rpm2cpio "$2" | cpio --quiet --extract --make-directories --no-absolute-filenames`, "sh", root, artifact(t, dist, "contain-*."+machine+".rpm"))
		installed(t, root, append(packaged, "usr/share/zsh/site-functions/_contain", "usr/share/licenses/contain/LICENSE"))
	})
	t.Run("apk", func(t *testing.T) {
		root := t.TempDir()
		f := open(t, artifact(t, dist, "contain_*_"+machine+".apk"))
		unpack(t, f, root) // gzip members one after the other, as one
		installed(t, root, append(packaged, ".PKGINFO", "usr/share/zsh/site-functions/_contain", "usr/share/licenses/contain/LICENSE"))
	})
	t.Run("oci", func(t *testing.T) { ociImage(t, filepath.Join(dist, "contain-oci.tar")) })
	t.Run("sbom", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join(dist, "contain-linux-"+runtime.GOARCH+".cdx.json"))
		succeed(t, err)
		var sbom struct {
			BOMFormat  string
			Components []struct{ Name string }
		}
		succeed(t, json.Unmarshal(b, &sbom))
		var names []string
		for _, c := range sbom.Components {
			names = append(names, c.Name)
		}
		if all := fmt.Sprint(names); sbom.BOMFormat != "CycloneDX" || !strings.Contains(all, "golang.org/x/sys") || !strings.Contains(all, "github.com/spf13/cobra") {
			t.Errorf("%s: %v", sbom.BOMFormat, names)
		}
	})
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// artifact returns the one file of a release that matches.
func artifact(t *testing.T, dist, pattern string) string {
	t.Helper()
	found := glob(filepath.Join(dist, pattern))
	if len(found) != 1 {
		t.Fatalf("%s: %q", pattern, found)
	}
	return found[0]
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	succeed(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// installed checks that the files are below root, and runs contain there.
func installed(t *testing.T, root string, files []string) {
	t.Helper()
	for _, f := range files {
		if st, err := os.Stat(filepath.Join(root, f)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
	succeed(t, os.MkdirAll(filepath.Join(root, "proc"), 0o755))
	cmd := exec.Command("sh", "-c", `mount --bind /proc "$1/proc" && exec chroot "$1" /usr/bin/contain run -- /usr/bin/contain version`, "sh", root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "contain v") {
		t.Errorf("contain, installed: %v: %q", err, out)
	}
}

// unpack unpacks a compressed archive.
func unpack(t *testing.T, r io.Reader, root string) {
	t.Helper()
	z, err := gzip.NewReader(r)
	succeed(t, err)
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		succeed(t, err)
		to := filepath.Join(root, filepath.Clean("/"+h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			succeed(t, os.MkdirAll(to, 0o755))
		case tar.TypeReg:
			succeed(t, os.MkdirAll(filepath.Dir(to), 0o755))
			b, err := io.ReadAll(archive)
			succeed(t, err)
			succeed(t, os.WriteFile(to, b, h.FileInfo().Mode().Perm()))
			succeed(t, os.Chmod(to, h.FileInfo().Mode().Perm()))
		default:
			t.Fatalf("%s is of type %c", h.Name, h.Typeflag)
		}
	}
}

// ociImage runs what the image has for this architecture, by its configuration.
func ociImage(t *testing.T, archive string) {
	layout := t.TempDir()
	run(t, "tar", "--extract", "--file", archive, "--directory", layout)
	type descriptor struct {
		Digest   string
		Platform struct{ Architecture string }
	}
	read := func(name string, into any) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(layout, name))
		succeed(t, err)
		succeed(t, json.Unmarshal(b, into))
	}
	blob := func(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }
	var index, all struct{ Manifests []descriptor }
	read("index.json", &index)
	read(blob(index.Manifests[0]), &all)
	for _, m := range all.Manifests {
		if m.Platform.Architecture != runtime.GOARCH {
			continue
		}
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		read(blob(m), &manifest)
		var config struct{ Config struct{ Entrypoint []string } }
		read(blob(manifest.Config), &config)
		root := t.TempDir()
		for _, l := range manifest.Layers {
			unpack(t, open(t, filepath.Join(layout, blob(l))), root)
		}
		c := newContainer(t, filepath.Join(root, "contain"))
		p := c.start(append(config.Config.Entrypoint, "/contain", "version")...)
		if line := p.hear("the version"); !strings.HasPrefix(line, "contain v") {
			t.Errorf("%q", line)
		}
		if code := p.code(); code != 0 {
			t.Errorf("exit code %d; %s", code, p.stderr())
		}
		return
	}
	t.Errorf("no image for %s in %+v", runtime.GOARCH, all)
}
