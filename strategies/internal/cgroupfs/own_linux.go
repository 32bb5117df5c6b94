package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Prefix begins the name of every group that belongs to an owner. The owner's
// PID, for people, and random digits follow.
const Prefix = "contain-"

// Own returns the cgroup that this process is in. The error wraps
// errors.ErrUnsupported if there is no cgroup2 mount that shows it.
func Own() (Group, error) {
	procs, err := readProc("/proc/self/cgroup", 1<<10)
	if err != nil {
		return "", procError(err)
	}
	path, ok := unified(procs)
	if !ok {
		return "", fmt.Errorf("%w: this process is in no cgroup of version 2 (no line 0:: in /proc/self/cgroup)", errors.ErrUnsupported)
	}
	return Locate(path)
}

// Locate returns the cgroup of version 2 that has a path as in /proc/PID/cgroup.
// The error wraps errors.ErrUnsupported if there is no cgroup2 mount that shows it.
func Locate(path string) (Group, error) {
	if g, ok := usual(path); ok {
		return g, nil
	}
	mounts, err := readProc("/proc/self/mountinfo", 4<<10)
	if err != nil {
		return "", procError(err)
	}
	return locate(path, mounts)
}

// usual finds the group where nearly every host has it: below the whole hierarchy,
// mounted where systemd mounts it. To read mountinfo takes longer than all else
// that contain run does with its cgroup. Elsewhere, and in a cgroup namespace, whose
// paths are relative to its root, the answer is no.
func usual(path string) (Group, bool) {
	if outside(path) || namespace() != initialNamespace {
		return "", false
	}
	for _, mount := range [...]string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		const rootInode = 1 // kernfs numbers from its root on, which a bind mount of a part does not show
		var fs unix.Statfs_t
		var root unix.Stat_t
		if unix.Statfs(mount, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC &&
			unix.Stat(mount, &root) == nil && root.Ino == rootInode {
			return Group(filepath.Join(mount, path)), true
		}
	}
	return "", false
}

// procError tells a host without such a file from one that is short of something.
func procError(err error) error {
	for _, missing := range []error{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%w: %w; is /proc mounted?", errors.ErrUnsupported, err)
		}
	}
	return err
}

// readProc is os.ReadFile for a file whose size is not known, but for a guess. It leaves
// the runtime's poller out of it, which contain run then never has to set up.
func readProc(path string, size int) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, size)
	for {
		b = slices.Grow(b, 1)
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
}

// unified returns the path in the version 2 hierarchy, cgroups(7).
func unified(procCgroup []byte) (string, bool) {
	for line := range bytes.Lines(procCgroup) {
		if path, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			return string(bytes.TrimSuffix(path, []byte("\n"))), true
		}
	}
	return "", false
}

// locate finds the directory of the cgroup path below one of the cgroup2 mounts
// in mountinfo, proc_pid_mountinfo(5). Hybrid hosts mount it elsewhere than at
// /sys/fs/cgroup; a bind mount may show a part only.
func locate(path string, mountinfo []byte) (Group, error) {
	if outside(path) {
		return "", fmt.Errorf("%w: this process's cgroup %s lies outside its cgroup namespace", errors.ErrUnsupported, path)
	}
	seen := false
	for line := range strings.Lines(string(mountinfo)) {
		left, right, ok := strings.Cut(line, " - ")
		fields, fs := strings.FieldsFunc(left, separates), strings.FieldsFunc(right, separates)
		if !ok || len(fields) < 6 || len(fs) < 1 || fs[0] != "cgroup2" {
			continue
		}
		seen = true
		root, point := unescape(fields[3]), unescape(fields[4])
		rel, err := filepath.Rel(root, path)
		if err == nil && !outside(root) && rel != ".." && !strings.HasPrefix(rel, "../") {
			return Group(filepath.Join(point, rel)), nil
		}
	}
	if seen {
		return "", fmt.Errorf("%w: no cgroup2 mount shows this process's cgroup %s", errors.ErrUnsupported, path)
	}
	return "", fmt.Errorf("%w: no cgroup2 file system is mounted", errors.ErrUnsupported)
}

// separates reports whether mountinfo has r between its fields only: it escapes these, and
// no other white space.
func separates(r rune) bool { return r == ' ' || r == '\n' }

// outside reports whether a path begins above the root of this process's cgroup
// namespace, cgroup_namespaces(7). Cleaned, it would name another cgroup.
func outside(path string) bool { return path == "/.." || strings.HasPrefix(path, "/../") }

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	for _, e := range [...][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}

// Writable says why no group may be made below g, this process's own, by
// default, or nil.
func (g Group) Writable() error {
	var st unix.Stat_t
	systemd := unix.Stat("/run/systemd/system", &st) == nil // sd_booted(3)
	return g.claimable(systemd, systemd && atNamespaceRoot(), Group.delegated)
}

// claimable decides. Under systemd every subtree has a single writer: the
// manager, except where it has delegated one (Delegate=yes). The root of a cgroup
// namespace is its owner's.
func (g Group) claimable(systemd, namespaceRoot bool, delegated func(Group) bool) error {
	if !systemd || namespaceRoot {
		return nil
	}
	for unit := g; len(unit) > 1; unit = Group(filepath.Dir(string(unit))) {
		name := filepath.Base(string(unit))
		if strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".scope") || strings.HasSuffix(name, ".slice") {
			if delegated(unit) {
				return nil
			}
			if unit.transientFile(unix.Geteuid()) != "" {
				return fmt.Errorf("%w: systemd manages %s and no delegation can be seen, as a user's manager shows that of transient units only; start this by systemd-run --user --scope -p Delegate=yes", errors.ErrUnsupported, name)
			}
			return fmt.Errorf("%w: systemd manages %s and has not delegated it; set Delegate=yes in the unit", errors.ErrUnsupported, name)
		}
	}
	return fmt.Errorf("%w: systemd manages the cgroup %s; run in a unit with Delegate=yes", errors.ErrUnsupported, g)
}

// atNamespaceRoot reports whether this process is at the root of a cgroup
// namespace other than the first.
func atNamespaceRoot() bool {
	if ns := namespace(); ns == "" || ns == initialNamespace {
		return false
	}
	own, err := readProc("/proc/self/cgroup", 1<<10)
	path, ok := unified(own)
	return err == nil && ok && path == "/"
}

// namespace returns the link of this process's cgroup namespace, "" before Linux
// 4.6 and if it cannot be read.
func namespace() string {
	var buf [64]byte
	n, err := unix.Readlink("/proc/self/ns/cgroup", buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// initialNamespace is the link of the first cgroup namespace, whose inode number
// is fixed: PROC_CGROUP_INIT_INO in Linux' include/linux/proc_ns.h.
const initialNamespace = "cgroup:[4026531835]"

// delegated looks for the mark that systemd sets: the attribute
// trusted.delegate, which only the privileged can read, or user.delegate. A
// user's manager sets neither (cgroup_xattr_apply in systemd's src/core/cgroup.c),
// but keeps what a transient unit was asked to be in a file.
func (g Group) delegated() bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var v [8]byte
		if n, err := unix.Getxattr(string(g), name, v[:]); err == nil && string(v[:n]) == "1" {
			return true
		}
	}
	file := g.transientFile(unix.Geteuid())
	if file == "" {
		return false
	}
	text, err := readProc(file, 64<<10)
	return err == nil && delegates(string(text))
}

// transientFile is where the manager of a user keeps g's unit if that is a transient
// one, or "" if g is below no manager of the user euid's (user@UID.service): what another
// user has delegated to themselves is not for root, whose processes they could move.
func (g Group) transientFile(euid int) string {
	_, below, _ := strings.Cut(string(g), "/user@")
	uid, unit, ok := strings.Cut(below, ".service/")
	if !ok || uid != strconv.Itoa(euid) {
		return ""
	}
	return "/run/user/" + uid + "/systemd/transient/" + filepath.Base(unit)
}

// delegates reports whether the text of a unit says Delegate= and, at last, not that it
// is off. A list of controllers, even an empty one, is a delegation
// (systemd.resource-control(5)).
func delegates(unit string) bool {
	on := false
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "Delegate="); ok {
			switch value {
			case "no", "n", "false", "f", "off", "0":
				on = false
			default:
				on = true
			}
		}
	}
	return on
}

// Tree is a group of one owner, with the lock that tells that it is alive.
type Tree struct {
	Group
	// Lock is the open directory. Its lock lasts until every process that has
	// inherited this descriptor has ended or closed it.
	Lock *os.File
}

// treeName is the name of an owner's group.
func treeName(pid int, random uint32) string {
	digits := strconv.FormatUint(uint64(random)|1<<32, 16)[1:] // eight of them
	return Prefix + strconv.Itoa(pid) + "-" + digits
}

// isTreeName reports whether name is one that treeName makes. A group of somebody
// else's whose name merely begins in the same way is not for a sweep to end.
func isTreeName(name string) bool {
	pid, random, ok := strings.Cut(strings.TrimPrefix(name, Prefix), "-")
	n, err := strconv.Atoi(pid)
	digits, hexErr := strconv.ParseUint(random, 16, 32)
	return ok && err == nil && hexErr == nil && name == treeName(n, uint32(digits))
}

// treeMode lets others into a tree, whose backends may have other users and read their
// own limits there, but not open it: whoever can may lock it, and the lock that tells
// that the owner is alive would keep what a dead one left from every sweep.
const treeMode = 0o711

// MakeTree makes a group for this process below parent, and locks it.
func MakeTree(parent Group) (*Tree, error) {
	for try := 0; ; try++ {
		g := parent.Sub(treeName(os.Getpid(), rand.Uint32()))
		if err := g.make(treeMode); err != nil {
			return nil, err
		}
		lock, err := g.lock()
		if err == nil {
			return &Tree{g, lock}, nil
		}
		// Between its making and its locking a sweep may have taken it for left behind.
		if try == 3 || !errors.Is(err, os.ErrNotExist) {
			_ = g.Remove()
			return nil, err
		}
	}
}

// MakeTreeAfterSweep is MakeTree in a group where others may have left theirs: what
// is started may need what those hold, such as a port, or they are what fills the
// group. Without groups below parent, which its link count tells, there are none.
func MakeTreeAfterSweep(parent Group) (*Tree, error) {
	var st unix.Stat_t
	alone := unix.Stat(string(parent), &st) == nil && st.Nlink == 2
	t, err := MakeTree(parent)
	full := errors.Is(err, unix.EAGAIN)
	if full || err == nil && !alone {
		_ = Sweep(parent, time.Now().Add(time.Second))
	}
	if full {
		return MakeTree(parent)
	}
	return t, err
}

// lock takes the lock of g without waiting.
func (g Group) lock() (*os.File, error) {
	// Not os.Open, which would set up the runtime's poller for it.
	fd, err := unix.Open(string(g), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: string(g), Err: err}
	}
	f := os.NewFile(uintptr(fd), string(g))
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("%w (locked by a sweep)", os.ErrNotExist)
		}
		return nil, os.NewSyscallError("flock", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(string(g), &st); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: string(g), Err: err}
	}
	return f, nil
}

// Sweep ends what owners left below parent that died together with their
// supervisor. A group that is locked has a living owner or supervisor and is
// left alone, as is everything that has another kind of name.
func Sweep(parent Group, deadline time.Time) error {
	entries, err := os.ReadDir(string(parent))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !isTreeName(e.Name()) {
			continue
		}
		g := parent.Sub(e.Name())
		lock, err := g.lock()
		if err != nil {
			continue
		}
		if err := g.End(deadline); err != nil {
			errs = append(errs, err)
		}
		lock.Close()
	}
	return errors.Join(errs...)
}
