package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// owned is who owns a directory and whom its mode lets in.
type owned struct {
	path     string
	uid, gid int
	mode     uint32
}

// denial is what is known of a directory that refused somebody.
type denial struct {
	// at is the directory, or its nearest parent that is there; above are the parents on
	// the way to it, the root first.
	at    owned
	above []owned
	// label is what SELinux has for it, acl tells of a POSIX ACL.
	label string
	acl   bool
	on    mount
	// mapped tells that this user namespace has other numbers than the machine; overflow
	// is whom it shows in place of an owner that it has no number for.
	mapped   bool
	overflow int
}

// What access(2) asks for.
const (
	wantWrite   = unix.W_OK | unix.X_OK
	wantThrough = unix.X_OK
)

// allows tells whether the mode lets id have what it wants (path_resolution(7)): the
// owner's bits count for the owner, the group's for the group, and no others.
func (o owned) allows(id Identity, want uint32) bool {
	bits := o.mode
	switch {
	case id.UID == o.uid:
		bits >>= 6
	case id.GID == o.gid || slices.Contains(id.Groups, o.gid):
		bits >>= 3
	}
	return bits&want == want
}

// judge tells what refused id at path: what was found, and what puts it right. Both are
// empty where owner and mode, which are said anyway, explain it.
func (d denial) judge(path string, id Identity) (found, fix string) {
	way := d.way(path)
	closed := slices.IndexFunc(way, func(dir owned) bool { return !dir.allows(id, wantThrough) })
	if closed >= 0 && id.UID != 0 {
		return "the way there is closed: " + way[closed].String(), "chmod o+x " + way[closed].path
	}
	itself := d.at.String()
	if d.at.path == path {
		itself = "it" + strings.TrimPrefix(itself, path)
	}
	switch {
	case d.mapped && d.at.uid == d.overflow && id.UID != d.overflow:
		return itself + ", an owner without a number in this user namespace",
			fmt.Sprintf("chown it from outside, as by podman unshare chown %d:%d DIR", id.UID, id.GID)
	case !d.at.allows(id, wantWrite):
		return "", ""
	case d.label != "":
		return itself + ", which would do; its SELinux label is " + d.label, "mount it with :Z"
	case d.acl:
		return itself + ", which would do, but it has an ACL", "look at getfacl " + d.at.path
	case !d.on.local():
		return fmt.Sprintf("%s, which would do; it is on %s mounted at %s", itself, d.on, d.on.point), "look at what that server or daemon allows"
	case d.mapped:
		return itself + ", which would do; this is a user namespace", fmt.Sprintf("chown it by podman unshare chown %d:%d DIR", id.UID, id.GID)
	}
	return itself + ", which would do", "look at what else guards it: lsattr, SELinux, AppArmor"
}

// way is what lies before path: where that cannot be looked at, the last that can is part of
// it, and may be what hides the rest.
func (d denial) way(path string) []owned {
	if d.at.path == path {
		return d.above
	}
	return append(slices.Clone(d.above), d.at)
}

func (o owned) String() string {
	return fmt.Sprintf("%s is owned by %d:%d, mode %04o", o.path, o.uid, o.gid, o.mode)
}

// refusedBy explains an error that speaks of rights and that owner and mode do not
// explain.
func refusedBy(e *Error) (found, fix string) {
	if !errors.Is(e.Err, fs.ErrPermission) || errors.Is(e.Err, errNoSockets) {
		return "", ""
	}
	if info, err := os.Lstat(e.Path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", "" // found says where it leads to
	}
	d, ok := readDenial(e.Path)
	if !ok {
		return "", ""
	}
	return d.judge(e.Path, e.As)
}

func readDenial(path string) (denial, bool) {
	at, st := nearest(path)
	if st == nil {
		return denial{}, false
	}
	d := denial{at: ownedBy(at, st), on: mountOf(at), label: attribute(at, "security.selinux"), overflow: overflowUID()}
	d.acl = attribute(at, "system.posix_acl_access") != ""
	for at != filepath.Dir(at) {
		at = filepath.Dir(at)
		var parent syscall.Stat_t
		if syscall.Stat(at, &parent) == nil {
			d.above = append(d.above, ownedBy(at, &parent))
		}
	}
	slices.Reverse(d.above)
	raw, err := os.ReadFile("/proc/self/uid_map")
	d.mapped = err == nil && !identical(string(raw))
	return d, true
}

func ownedBy(path string, st *syscall.Stat_t) owned {
	return owned{path, int(st.Uid), int(st.Gid), st.Mode & 0o7777}
}

// identical tells that a uid_map gives every uid its own number (user_namespaces(7)): the
// first namespace's map, or none that says otherwise.
func identical(uidMap string) bool {
	fields := strings.Fields(uidMap)
	return slices.Equal(fields, []string{"0", "0", "4294967295"})
}

// overflowUID is whom the kernel shows for an owner without a number (proc_sys_kernel(5)).
func overflowUID() int {
	raw, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	uid, numErr := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || numErr != nil {
		return 65534
	}
	return uid
}

// attribute gives an extended attribute, empty where there is none or we may not read it.
func attribute(path, name string) string {
	value := make([]byte, 256) // a label is shorter
	n, err := unix.Lgetxattr(path, name, value)
	if errors.Is(err, unix.ERANGE) {
		return "(long)"
	}
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(value[:n]), "\x00")
}
