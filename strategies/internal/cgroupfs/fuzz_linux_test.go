package cgroupfs

import (
	"path/filepath"
	"strings"
	"testing"
)

// escape is what the kernel does to a path in mountinfo, seq_path in fs/seq_file.c.
var escape = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

// FuzzLocate: the directory of a cgroup is found below the mount that shows it,
// whatever root and mount point are called and whatever stands before in mountinfo.
func FuzzLocate(f *testing.F) {
	f.Add("/a.slice/b.service", "/", "/sys/fs/cgroup", "")
	f.Add("/a/b", "/a", "/mnt/with space\\040", "29 1 0:26 / /proc rw - proc proc rw")
	f.Add("/x", "/y", "/sys/fs/cgroup/unified", "1 - cgroup2")
	f.Add("/../outside", "/", "/sys/fs/cgroup", "\n - \n")
	f.Add("/a", "/..", "/m", "1 2 3 / / rw - cgroup2 cgroup2 rw")
	f.Fuzz(func(t *testing.T, path, root, point, before string) {
		_, _ = locate(path, []byte(before))
		for _, s := range []string{path, root, point} {
			if !strings.HasPrefix(s, "/") || filepath.Clean(s) != s || strings.Contains(s, "\x00") {
				return // no path that the kernel shows
			}
		}
		if strings.Contains(before, "cgroup2") || outside(path) || outside(root) {
			return
		}
		mounts := before + "\n29 23 0:26 " + escape.Replace(root) + " " + escape.Replace(point) + " rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		g, err := locate(path, []byte(mounts))
		rel, below := strings.CutPrefix(path+"/", strings.TrimSuffix(root, "/")+"/")
		if below != (err == nil) {
			t.Fatalf("%q below %q: %v", path, root, err)
		}
		if want := filepath.Join(point, rel); err == nil && string(g) != want {
			t.Errorf("%q below %q at %q: %q, want %q", path, root, point, g, want)
		}
	})
}

// FuzzUnified: the path is that of the line 0::, whatever the controllers of
// version 1 and their paths are called.
func FuzzUnified(f *testing.F) {
	f.Add("9:name=systemd:/\n", "/user.slice", "4:memory:/0::/\n")
	f.Add("", "/", "")
	f.Add("10::/not\n", "/a:b::c", "0::")
	f.Fuzz(func(t *testing.T, before, path, after string) {
		if strings.Contains(path, "\n") || strings.Contains("\n"+before, "\n0::") || before != "" && !strings.HasSuffix(before, "\n") {
			return
		}
		if got, ok := unified([]byte(before + "0::" + path + "\n" + after)); !ok || got != path {
			t.Errorf("%q, %v, want %q", got, ok, path)
		}
		if got, ok := unified([]byte(before)); ok {
			t.Errorf("%q from no line", got)
		}
	})
}
