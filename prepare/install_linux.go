package prepare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// programMode is that of an installed program, whatever the umask.
const programMode fs.FileMode = 0o755

// Item is what [Install] puts into a directory.
type Item struct {
	// Name is what it is called there.
	Name string
	// From is the program that is copied. Empty: it is a link, and leads To.
	From, To string
}

// Installed is what became of an item.
type Installed struct {
	Item
	// Replaced says what had the name before, empty where nothing had.
	Replaced string
	// Same: it was there already, and was left alone.
	Same bool
}

// Install puts programs and links into a directory. All of them are written beside their places
// before the first takes its own, in the order that is given; where one cannot, those before it
// are taken back as far as the file system can swap names. What has a name already is replaced, a
// link itself and never what it leads to; a directory is not. If dry, nothing is changed, and
// what would be is told. An error is an [Error], or ctx's.
func Install(ctx context.Context, dir string, items []Item, dry bool) ([]Installed, error) {
	place, err := openPlace(dir)
	if err != nil {
		return nil, cannotInstall(dir, err)
	}
	j := &installation{place: place}
	defer j.end()
	var all []Installed
	for _, item := range items {
		one, err := j.look(item)
		if err != nil {
			return nil, cannotInstall(filepath.Join(dir, item.Name), err)
		}
		all = append(all, one)
	}
	if dry {
		return all, nil
	}
	for _, one := range all {
		if one.Same {
			continue
		}
		if err := j.stage(ctx, one.Item); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			return nil, cannotInstall(dir, err)
		}
	}
	for i := range j.staged {
		if err := j.put(&j.staged[i]); err != nil {
			return nil, cannotInstall(filepath.Join(dir, j.staged[i].name), errors.Join(err, j.takeBack(j.staged[:i])))
		}
	}
	return all, nil
}

func cannotInstall(path string, err error) error {
	e := &Error{Op: "install", Path: path, As: Self(), Otherwise: "install into another directory", Err: err}
	switch {
	case errors.Is(err, errIsDir):
		e.Fix = "remove that directory"
	case errors.Is(err, unix.EBUSY):
		e.Fix = "unmount it"
	case errors.Is(err, fs.ErrPermission):
		e.Otherwise = "install as root"
	}
	return e.explain()
}

var errIsDir = errors.New("a directory has that name")

// installation is one [Install] at work.
type installation struct {
	place  int
	staged []staged
}

// staged is an item that lies beside its place, by another name.
type staged struct {
	name, temp string
	// swapped: what had its name has temp now. fresh: nothing had.
	swapped, fresh bool
}

// look finds what has an item's name.
func (j *installation) look(item Item) (Installed, error) {
	one := Installed{Item: item}
	var st unix.Stat_t
	err := fstatat(j.place, item.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		return one, nil
	case err != nil:
		return one, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return one, errIsDir
	case unix.S_IFLNK:
		to, err := j.target(item.Name)
		one.Replaced, one.Same = "a link to "+to, item.From == "" && to == item.To
		return one, err
	case unix.S_IFREG:
		one.Replaced, one.Same = fmt.Sprintf("a file of %d bytes", st.Size), item.isInstalled(st)
	default:
		one.Replaced = "a device, a socket or a pipe"
	}
	return one, nil
}

func (j *installation) target(link string) (string, error) {
	return readlinkat(j.place, link)
}

// isInstalled: what is there is what would be copied.
func (i Item) isInstalled(there unix.Stat_t) bool {
	var own unix.Stat_t
	return i.From != "" && unix.Stat(i.From, &own) == nil && own.Dev == there.Dev && own.Ino == there.Ino &&
		fs.FileMode(there.Mode&0o7777) == programMode
}

// stage writes an item beside its place. Nothing has the name that it takes for that, be it a link.
func (j *installation) stage(ctx context.Context, item Item) error {
	temp := fmt.Sprintf(".ak-init-%x", rand.Uint64())
	if item.From == "" {
		if err := unix.Symlinkat(item.To, j.place, temp); err != nil {
			return &fs.PathError{Op: "create", Path: item.Name, Err: err}
		}
		j.staged = append(j.staged, staged{name: item.Name, temp: temp})
		return nil
	}
	from, err := os.Open(item.From)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", item.From, err)
	}
	defer func() { _ = from.Close() }()
	fd, err := openat(j.place, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: item.Name, Err: err}
	}
	j.staged = append(j.staged, staged{name: item.Name, temp: temp})
	to := os.NewFile(uintptr(fd), item.Name)
	_, err = io.Copy(to, heedful{ctx, from})
	return cmp.Or(err, to.Chmod(programMode), to.Close())
}

// heedful is a reader until its context ends.
type heedful struct {
	ctx context.Context //nolint:containedctx // one copy's, and no longer than that
	io.Reader
}

func (h heedful) Read(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	return h.Reader.Read(p)
}

// put gives what is staged its name, and what had that the other one (man 2 renameat2,
// RENAME_EXCHANGE): it can be taken back then. Not every file system can; there what had the name
// is gone.
func (j *installation) put(s *staged) error {
	err := unix.Renameat2(j.place, s.temp, j.place, s.name, unix.RENAME_EXCHANGE)
	switch err {
	case nil:
		s.swapped = true
		return nil
	case unix.ENOENT:
		s.fresh = true
	case unix.EINVAL, unix.ENOSYS:
	default:
		return err
	}
	return renameat(j.place, s.temp, s.name)
}

// takeBack undoes what put has done, the last first.
func (j *installation) takeBack(put []staged) error {
	var faults []error
	for i, s := range slices.Backward(put) {
		switch {
		case s.swapped:
			faults = append(faults, unix.Renameat2(j.place, s.temp, j.place, s.name, unix.RENAME_EXCHANGE))
		case s.fresh:
			faults = append(faults, unlinkat(j.place, s.name, 0))
		default:
			faults = append(faults, fmt.Errorf("%s is the new one already", put[i].name))
		}
	}
	return errors.Join(faults...)
}

// end removes what lies beside: what was not put, and what was replaced.
func (j *installation) end() {
	for _, s := range j.staged {
		_ = unlinkat(j.place, s.temp, 0) // it may have its place
	}
	_ = unix.Close(j.place)
}
