package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// belongs tells whether an entry is right: its uid is id's, and its gid is one of those that
// id has.
func belongs(st *unix.Stat_t, id Identity) bool {
	return int(st.Uid) == id.UID && hasGroup(id, int(st.Gid))
}

func hasGroup(id Identity, gid int) bool { return gid == id.GID || slices.Contains(id.Groups, gid) }

// notToGive says why an entry stays whose it is. A file with more than one name may be one
// of the host's, linked into the tree by who can write there: to give it away would open it
// to him. The kernel forbids such links by default only (proc_sys_fs(5),
// protected_hardlinks). Directories have one name, and links to themselves.
func notToGive(st *unix.Stat_t, id Identity) string {
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFBLK || kind == unix.S_IFCHR:
		return "it is a device"
	case kind != unix.S_IFDIR && st.Nlink > 1 && int(st.Uid) != id.UID:
		return fmt.Sprintf("the file has %d names, which may be anywhere", st.Nlink)
	}
	return ""
}

// change is what chown gets: -1 leaves a group that id has as it is.
func change(st *unix.Stat_t, id Identity, fix Fix) (uid, gid int) {
	if fix != FixAlways && hasGroup(id, int(st.Gid)) {
		return id.UID, -1
	}
	return id.UID, id.GID
}

// What could not be done with an entry.
const (
	cannotRead = "read"
	cannotGive = "give away"
)

// cannotEnter hears of a directory that cannot be opened or read.
func (o *owning) cannotEnter(in *directory, err error) {
	o.fail(cannotRead, filepath.Join(o.Path, in.path()), err)
}

func (o *owning) fail(op, path string, err error) {
	o.failed.Add(1)
	o.tell(o.errorOf(op, path, err))
}

// failReadOnly tells one line a file system, and counts the rest.
func (o *owning) failReadOnly(path string, dev uint64) {
	o.failed.Add(1)
	o.mu.Lock()
	told := o.readOnly[dev]
	o.readOnly[dev] = true
	o.mu.Unlock()
	if !told {
		o.tell(o.errorOf(cannotGive, path, unix.EROFS))
	}
}

func (o *owning) tell(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.first) < maxTold {
		o.first = append(o.first, err)
	}
}

// errorOf is built for the first few only: to describe a path costs system calls.
func (o *owning) errorOf(op, path string, err error) error {
	o.mu.Lock()
	enough := len(o.first) >= maxTold
	o.mu.Unlock()
	if enough {
		return err
	}
	who := Self()
	if o.ReadOnly {
		who = o.id
	}
	return fmt.Errorf("cannot %s %s (%s): %w; %s; we are %s; %s", op, path, o.For, bare(err), found(path), who, o.remedy(op, err))
}

// bare is an error without its path, which stands in the line already.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

func (o *owning) remedy(op string, err error) string {
	switch {
	case o.ReadOnly:
		return fmt.Sprintf("let %s read it, by its group or its mode", o.id)
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, errLed):
		return "name the directory itself, without links"
	case err == unix.EROFS:
		return fmt.Sprintf("the file system is read-only: chown it to %d:%d where it is mounted writable", o.id.UID, o.id.GID)
	case op != cannotGive:
		return "the container may lack the capability DAC_READ_SEARCH"
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Sprintf("chown it to %d:%d from outside, or give the container the capability CHOWN", o.id.UID, o.id.GID)
	default:
		return fmt.Sprintf("chown it to %d:%d from outside, if its file system knows owners", o.id.UID, o.id.GID)
	}
}
