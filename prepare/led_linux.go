package prepare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// errLed is for a path on which somebody else could lead root anywhere.
var errLed = errors.New("a link on the way is not only root's to change")

// maxLinks is how many links the kernel follows (path_resolution(7)).
const maxLinks = 40

// way is a path as far as it has been gone.
type way struct {
	// fd is the directory that was reached, at its name without links.
	fd int
	at string
	// missing are the parts behind it that are not there.
	missing string
	// ours: nobody but root and we could change anything on the way.
	ours  bool
	links int
}

// goAlong goes along an absolute path to a directory, or to the nearest one above it that is
// there. It follows links as long as only root and we can have made them, as /var/run, or a
// /data that an administrator moved: each directory that was passed, and the link, must be
// root's or ours, and the directories must be for nobody else to write to. Behind these a link
// is [errLed]: in a directory that the children write to, links are theirs.
func goAlong(path string) (*way, error) {
	w := &way{fd: -1, ours: true}
	rest := filepath.Clean(path)
	if err := w.toTop(); err != nil {
		return nil, err
	}
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == "" || part == "." {
			continue
		}
		to, err := w.step(part)
		if err == unix.ENOENT {
			w.missing = strings.TrimSuffix(part+"/"+rest, "/")
			return w, nil
		}
		if err != nil {
			w.close()
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		if to != "" {
			rest = to + "/" + rest
		}
	}
	return w, nil
}

// step goes one part on. Where it is a link it stays, and gives what the link holds.
func (w *way) step(part string) (link string, err error) {
	if part == ".." && !w.ours {
		return "", errLed
	}
	// O_DIRECTORY makes the kernel mount what is mounted on demand (man 2 open, O_PATH).
	next, err := openat(w.fd, part, plain|unix.O_PATH, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return w.follow(part)
	}
	if err != nil {
		return "", err
	}
	w.reach(next, filepath.Join(w.at, part))
	return "", nil
}

func (w *way) follow(part string) (string, error) {
	fd, err := openat(w.fd, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", unix.ENOTDIR
	}
	if !w.ours || !isOurs(st.Uid) {
		return "", errLed
	}
	if w.links++; w.links > maxLinks {
		return "", unix.ELOOP
	}
	to, err := readlinkat(fd, "")
	if err == nil && filepath.IsAbs(to) {
		err = w.toTop()
	}
	return to, err
}

func (w *way) toTop() error {
	fd, err := openat(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		w.reach(fd, "/")
	}
	return err
}

func (w *way) reach(fd int, at string) {
	w.close()
	w.fd, w.at = fd, at
	var st unix.Stat_t
	w.ours = w.ours && fstat(fd, &st) == nil && isOurs(st.Uid) && st.Mode&0o022 == 0
}

func (w *way) close() {
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
	}
	w.fd = -1
}

func isOurs(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// open opens what was reached for reading.
func (w *way) open() (int, error) {
	if w.missing != "" {
		return -1, unix.ENOENT
	}
	return openToRead(w.fd, "", false, func(at int, piece string, flags int) (int, error) { return openat(at, piece, flags, 0) })
}

// openUnled opens a directory by its absolute path for reading, see [goAlong].
func openUnled(path string) (int, error) {
	w, err := goAlong(path)
	if err != nil {
		return -1, err
	}
	defer w.close()
	fd, err := w.open()
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}
