package prepare

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// makeUnled is makeAll without being led, and gives the directory itself to id. What is there
// already stays as it is.
func makeUnled(path string, mode fs.FileMode, id Identity, out *Outcome) error {
	w, err := goAlong(path)
	if err != nil {
		return err
	}
	defer w.close()
	for w.missing != "" {
		part, rest, more := strings.Cut(w.missing, "/")
		if part == ".." {
			return unix.ENOENT
		}
		how := mode
		if more {
			how = 0o755
		}
		if err := w.makeNext(part, how, out); err != nil {
			return err
		}
		w.missing = rest
	}
	if mode&fs.ModeSticky != 0 {
		return nil // for everybody, as /tmp is
	}
	return giveOpened(w, id)
}

// makeNext makes one directory and goes there.
func (w *way) makeNext(part string, mode fs.FileMode, out *Outcome) error {
	err := mkdirat(w.fd, part, uint32(mode.Perm()))
	if err != nil && err != unix.EEXIST {
		return err
	}
	made := err == nil
	next, err := openat(w.fd, part, plain, 0)
	if err != nil {
		return err
	}
	w.reach(next, filepath.Join(w.at, part))
	if !made {
		return nil
	}
	out.Made = append(out.Made, w.at)
	how := uint32(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		how |= unix.S_ISVTX
	}
	return again(func() error { return unix.Fchmod(next, how) }) // the umask took bits away
}

// giveOpened makes id the owner of the directory that was reached.
func giveOpened(w *way, id Identity) error {
	fd, err := w.open()
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), w.at)
	defer func() { _ = dir.Close() }()
	return give(dir, id, 0)
}
