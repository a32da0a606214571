package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// socketRoom is what the longest socket name puts behind TMPDIR, ak-init's own with the
// largest uid, and maxSocketPath what a socket path may be (unix(7): 108 bytes with the
// final zero). roomNeeded is what pid files, keys and sockets of a start take together, and
// inodesNeeded how many they are, with directories.
const (
	socketRoom    = len("/ak-init-4294967295-server/sock")
	maxSocketPath = 107
	roomNeeded    = 1 << 20
	inodesNeeded  = 16
)

// errTooLong is for a TMPDIR below which no socket can be bound.
var errTooLong = fmt.Errorf("too long for a unix socket: at most %d bytes", maxSocketPath-socketRoom)

func lookAtFully(dir, origin string, id Identity) error {
	err := lookAt(dir, id)
	if err == nil {
		return nil
	}
	op := writeTo
	if !exists(dir) {
		op = makeDir
	}
	e := &Error{Op: op, Path: dir, For: origin, As: id, Err: err, Otherwise: "set another TMPDIR"}
	return e.explain()
}

func lookAt(dir string, id Identity) error {
	if len(dir)+socketRoom > maxSocketPath {
		return errTooLong
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return lookAbove(dir, id)
	case err != nil:
		return err
	case !info.IsDir():
		return unix.ENOTDIR
	}
	if err := mayWrite(dir, id); err != nil {
		return err
	}
	err = hasRoom(dir)
	if errors.Is(err, unix.ENOSPC) && reclaimable(dir, id) {
		return nil // after a sweep, writing will tell
	}
	return err
}

// lookAbove tells whether a missing directory could be made, by id or by us.
func lookAbove(dir string, id Identity) error {
	above := filepath.Dir(dir)
	for !exists(above) {
		above = filepath.Dir(above)
	}
	err := mayWrite(above, id)
	if err == nil || mayWrite(above, Self()) != nil {
		return err
	}
	w, ledErr := goAlong(dir)
	if ledErr != nil {
		return err
	}
	w.close()
	return nil
}

// mayWrite tells whether id can make files in dir.
func mayWrite(dir string, id Identity) error { return mayAccess(dir, id, wantWrite) }

// mayAccess asks the kernel with the rights that files are opened with (man 2
// faccessat2, AT_EACCESS): mode bits alone do not know read-only mounts or ACLs.
func mayAccess(dir string, id Identity, want uint32) error {
	return As(id, func() error {
		err := access(unix.AT_FDCWD, dir, want)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			return nil // Linux before 5.8, or a seccomp filter: writing will tell
		}
		return err
	})
}

func hasRoom(dir string) error {
	s, err := room(dir)
	switch {
	case err != nil:
		return err
	case s.Total > 0 && s.Free < roomNeeded:
		return unix.ENOSPC
	case s.Inodes > 0 && s.FreeInodes < inodesNeeded:
		return errNoInodes
	}
	return nil
}
