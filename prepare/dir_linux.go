package prepare

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is a directory that children write to.
type Dir struct {
	Path string `json:"path"`
	// For is what it is needed for.
	For string `json:"for"`
	// Mode is what it is made with. Bits of the group and others count as they stand,
	// whatever the umask.
	Mode fs.FileMode `json:"-"`
	// Required: without it nothing works. Otherwise a directory that is not there and
	// cannot be made, or that lies on a read-only mount, is a warning: nobody gave one.
	// One that is there and belongs to somebody else is always a fault.
	Required bool `json:"required"`
	// Hint is what to do when it cannot be written.
	Hint string `json:"-"`
}

// Outcome is what came of making a directory.
type Outcome struct {
	// Fault is one line about what is wrong, nil if nothing is.
	Fault error
	// Warning tells that the fault can be lived with.
	Warning bool
	// Made tells that the directory was not there before.
	Made bool
}

// Make makes the directory if it is missing and tests it by writing as id.
func (d Dir) Make(id Identity) Outcome {
	made, err := d.ensure(id)
	if err == nil {
		return Outcome{Made: made}
	}
	missing := !exists(d.Path)
	op := "write to"
	if missing {
		op = "make"
	}
	return Outcome{
		Fault:   &Error{Op: op, Path: d.Path, For: d.For, As: id, Hint: d.Hint, Err: err, Found: found(d.Path)},
		Warning: !d.Required && (missing || errors.Is(err, unix.EROFS)),
		Made:    made,
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (d Dir) ensure(id Identity) (made bool, err error) {
	if !exists(d.Path) {
		if err := d.create(id); err != nil {
			return false, err
		}
		made = true
	}
	err = tryWrite(d.Path, id)
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() != 0 || id.UID == 0 {
		return made, err
	}
	// Root puts right what is wrong: this one directory, not what lies in it.
	if giveErr := give(d.Path, id, 0o770); giveErr != nil {
		return made, fmt.Errorf("%w, and its owner cannot be changed: %w", err, giveErr)
	}
	return made, tryWrite(d.Path, id)
}

// MakeShared makes a directory for everybody, as /tmp is, where it is missing.
func MakeShared(path string) (made bool, err error) {
	if exists(path) {
		return false, nil
	}
	if err := makeAll(path, fs.ModeSticky|0o777); err != nil {
		return false, err
	}
	return true, nil
}

// create makes the directory as id, so that it is id's own, and where id may not, as
// ourselves, to give it away.
func (d Dir) create(id Identity) error {
	err := As(id, func() error { return makeAll(d.Path, d.Mode) })
	if errors.Is(err, fs.ErrExist) || err == nil {
		return nil
	}
	if self := Self(); self.UID == id.UID {
		return err
	}
	if err := makeAll(d.Path, d.Mode); err != nil {
		return err
	}
	if d.Mode&fs.ModeSticky != 0 {
		return nil // for everybody, as /tmp is
	}
	return give(d.Path, id, 0)
}

// makeAll makes missing parents 0755 and the directory itself with exactly this mode.
func makeAll(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode.Perm()); err != nil {
		return err
	}
	return os.Chmod(path, mode) // the umask took bits away, and mkdir takes no sticky bit
}

// give makes id the owner of one directory and adds mode bits. No link is followed,
// and what was opened is what is changed.
func give(path string, id Identity, add uint32) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := unix.Fchown(fd, id.UID, id.GID); err != nil {
		return err
	}
	return unix.Fchmod(fd, st.Mode&0o7777|add)
}

// page is what is written to see whether there is room: the smallest piece that tmpfs
// and most disks hand out.
const page = 4096

// tryWrite makes a file in dir as id, fills a page and removes it.
func tryWrite(dir string, id Identity) error {
	return As(id, func() error {
		f, err := os.CreateTemp(dir, ".ak-init-test-")
		if err != nil {
			return err
		}
		_, writeErr := f.Write(make([]byte, page))
		return cmp.Or(writeErr, f.Close(), os.Remove(f.Name()))
	})
}

// WriteFile puts a small file in place whole, replacing what has its name: neither a
// link nor another uid's file in a sticky directory is ever written through
// (proc_sys_fs(5), protected_regular).
func WriteFile(path, content string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ak-init-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = cmp.Or(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// isOwn tells whether info is a directory of uid's that nobody else may enter.
func isOwn(info fs.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(st.Uid) == uid && info.Mode().Perm() == 0o700
}
