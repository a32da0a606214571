package prepare

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// page is what is written to see whether there is room: the smallest piece that tmpfs
// and most disks hand out.
const page = 4096

// try finds out whether id can work in the directory.
func (d Dir) try(id Identity) error {
	return As(id, func() error {
		err := fillPage(d.Path)
		if err == nil && d.Sockets {
			err = trySockets(d.Path)
		}
		return err
	})
}

// fillPage makes a file in dir, fills a page and lets it go.
func fillPage(dir string) error {
	// A file without a name leaves nothing behind, whatever happens, and costs the
	// directory no write (man 2 open, O_TMPFILE).
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return tryWriteByName(dir)
	}
	if err != nil {
		return whichSpace(dir, err)
	}
	_, err = unix.Write(fd, make([]byte, page))
	return cmp.Or(whichSpace(dir, err), unix.Close(fd))
}

// whichSpace tells a file system without inodes from one without blocks.
func whichSpace(dir string, err error) error {
	var st unix.Statfs_t
	if errors.Is(err, unix.ENOSPC) && statfs(dir, &st) == nil && st.Files > 0 && st.Ffree == 0 {
		return errNoInodes
	}
	return err
}

// trySockets tells whether sockets can be bound in dir, and all else that a start makes there. Of
// the usual file systems it is known, which is cheaper than trying.
func trySockets(dir string) error {
	s, err := room(dir)
	switch {
	case err != nil:
		return tryBind(dir)
	case s.Inodes > 0 && s.FreeInodes < inodesNeeded:
		return errNoInodes
	case slices.Contains([]string{"tmpfs", "ext4", "xfs", "btrfs"}, s.FSType):
		return nil
	}
	return tryBind(dir)
}

// tryBind binds a unix socket in dir and takes it away. FAT, some FUSE file systems and
// network shares have none (man 2 mknod, EPERM).
func tryBind(dir string) error {
	name := filepath.Join(dir, fmt.Sprintf(".ak-init-test-%x", rand.Uint32()))
	if len(name) > maxSocketPath {
		return errTooLong
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return fmt.Errorf("%w: %s", errNoSockets, err.Error()) // no EPERM that a chown would put right
	}
	return os.Remove(name)
}

// tryWriteByName is for file systems and kernels without files that have no name.
func tryWriteByName(dir string) error {
	f, err := os.CreateTemp(dir, ".ak-init-test-")
	if err != nil {
		return whichSpace(dir, err)
	}
	_, writeErr := f.Write(make([]byte, page))
	return cmp.Or(whichSpace(dir, writeErr), f.Close(), os.Remove(f.Name()))
}
