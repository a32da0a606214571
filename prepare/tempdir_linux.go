package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// socketRoom is what authentik puts behind TMPDIR for its longest socket name, and
// maxSocketPath what a socket path may be (unix(7): 108 bytes with the final zero).
const (
	socketRoom    = len("/authentik-gunicorn.sock")
	maxSocketPath = 107
)

// errTooLong is for a TMPDIR below which no socket can be bound.
var errTooLong = fmt.Errorf("too long for a unix socket: at most %d bytes", maxSocketPath-socketRoom)

// LookAt tells, without writing, whether a directory can be a TMPDIR for id: it is
// one, or can be made, id may write there, it is not full, and sockets fit. What
// only writing can tell, such as a quota, [Apply] finds out.
func LookAt(dir string, id Identity) error {
	if len(dir)+socketRoom > maxSocketPath {
		return errTooLong
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return lookAtParent(filepath.Dir(dir), id)
	case err != nil:
		return err
	case !info.IsDir():
		return unix.ENOTDIR
	}
	if err := mayWrite(dir, id); err != nil {
		return err
	}
	return hasRoom(dir)
}

// lookAtParent tells whether dir could be made there, by id or by us.
func lookAtParent(parent string, id Identity) error {
	if errors.Is(mayWrite(parent, id), nil) || errors.Is(mayWrite(parent, Self()), nil) {
		return nil
	}
	return fmt.Errorf("missing, and cannot be made: %w", mayWrite(parent, id))
}

// mayWrite asks the kernel with the rights that files are opened with (man 2
// faccessat2, AT_EACCESS): mode bits alone do not know read-only mounts or ACLs.
func mayWrite(dir string, id Identity) error {
	return As(id, func() error {
		return unix.Faccessat2(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	})
}

func hasRoom(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	// Some file systems count no inodes and say 0 of 0.
	if st.Bavail == 0 || (st.Files > 0 && st.Ffree == 0) {
		return unix.ENOSPC
	}
	return nil
}
