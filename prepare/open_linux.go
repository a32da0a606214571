package prepare

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxPiece is what one system call takes of a path: less than PATH_MAX, and more than a name.
const maxPiece = 4000

// openBelow opens the directory at path below at for reading; an empty path is at itself.
// What is a link, or leads out of at, is refused with ELOOP, ENOTDIR or EXDEV.
func openBelow(at int, path string) (int, error) { return openIn(at, path, openPiece) }

// openIn goes along a path in pieces that open takes.
func openIn(at int, path string, open func(at int, piece string, flags int) (int, error)) (int, error) {
	fd := at
	for {
		piece, rest := path, ""
		if len(path) > maxPiece {
			end := strings.LastIndexByte(path[:maxPiece], '/')
			piece, rest = path[:end], path[end+1:]
		}
		next, err := openToRead(fd, piece, rest != "", open)
		if fd != at {
			_ = unix.Close(fd)
		}
		if err != nil || rest == "" {
			return next, err
		}
		fd, path = next, rest
	}
}

// plain are the flags of each open of a directory.
const plain = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openToRead opens a directory on the way, where searching it is enough, or to be read. To
// read it changes its access time unless that is forbidden, which may be its owner's and
// root's right only (man 2 open, O_NOATIME).
func openToRead(at int, piece string, onTheWay bool, open func(at int, piece string, flags int) (int, error)) (int, error) {
	if piece == "" {
		piece = "."
	}
	if onTheWay {
		return open(at, piece, plain|unix.O_PATH)
	}
	fd, err := open(at, piece, plain|unix.O_NOATIME)
	if err == unix.EPERM {
		return open(at, piece, plain)
	}
	return fd, err
}

// openPiece leaves it to the kernel to refuse links (man 2 openat2), and where it cannot,
// before Linux 5.6 or behind a seccomp filter that does not know this call, goes part by part.
func openPiece(at int, piece string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd := -1
	err := again(func() (err error) {
		fd, err = unix.Openat2(at, piece, &how)
		return err
	})
	if err == unix.ENOSYS || err == unix.EPERM {
		return openParts(at, piece, flags)
	}
	return fd, err
}

// openParts opens one part after the other. O_NOFOLLOW is about the last part of a path, and
// here each is the last.
func openParts(at int, piece string, flags int) (int, error) {
	fd := at
	for {
		part, rest, deeper := strings.Cut(piece, "/")
		how := flags
		if deeper {
			how = plain | unix.O_PATH
		}
		next, err := openat(fd, part, how, 0)
		if fd != at {
			_ = unix.Close(fd)
		}
		if err != nil || !deeper {
			return next, err
		}
		fd, piece = next, rest
	}
}
