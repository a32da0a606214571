package prepare

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

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
	// IfThere: it is tested where it exists, and not made; a fault is a warning.
	IfThere bool `json:"if_there,omitempty"`
	// Sockets tells that unix sockets are bound in it, which is tested as well.
	Sockets bool `json:"sockets,omitempty"`
	// Giving is when root gives it to the children, who cannot write to it.
	Giving Giving `json:"-"`
	// Otherwise is what to do when it cannot be written, beside putting it right.
	Otherwise string `json:"-"`
	// Origin is who named it, for people who read a plan.
	Origin string `json:"origin,omitempty"`
}

// Giving is when root gives a directory that is there to the children.
type Giving int

const (
	// GiveWrong is for a directory of whoever it is: it is theirs by what it is for.
	GiveWrong Giving = iota
	// GiveUnused is for one as long as nobody uses it, see [Reader.MayGive].
	GiveUnused
	// GiveNever is for one that others use as well.
	GiveNever
)

// Outcome is what came of making a directory.
type Outcome struct {
	// Fault is one line about what is wrong, nil if nothing is.
	Fault error
	// Warning tells that the fault can be lived with.
	Warning bool
	// Made are directories that were not there before, parents first.
	Made []string
	// Given tells that the directory had another owner before.
	Given bool
}

// What an [Error] could not do.
const (
	writeTo = "write to"
	makeDir = "make"
)

// Make is [MakeAll] for one directory, with [Bound].
func (d Dir) Make(id Identity) Outcome { return MakeAll(Bound, []Dir{d}, id)[0] }

// Look is [LookAll] for one directory, with [Bound].
func (d Dir) Look(id Identity) Outcome { return LookAll(Bound, []Dir{d}, id)[0] }

// outcome is what came of ensure, with all that can be told of an error.
func (d Dir) outcome(id Identity, ensure func(Identity, *Outcome) error) Outcome {
	var out Outcome
	err := dangling(d.Path)
	if d.IfThere && err == nil && !exists(d.Path) {
		return out
	}
	if err == nil {
		err = ensure(id, &out)
	}
	if err == nil {
		return out
	}
	missing := !exists(d.Path)
	op := writeTo
	if missing {
		op = makeDir
	}
	e := d.failure(op, id, err)
	out.Fault = e.explain()
	out.Warning = d.IfThere || !d.Required && (missing || errors.Is(err, unix.EROFS))
	return out
}

func (d Dir) failure(op string, id Identity, err error) *Error {
	return &Error{Op: op, Path: d.Path, For: d.For, As: id, Otherwise: d.Otherwise, Err: err}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// dangling says where a link leads to nothing: it is no directory, and none can be made in its
// place.
func dangling(path string) error {
	to, err := os.Readlink(path)
	if err != nil || exists(path) {
		return nil //nolint:nilerr // it is no link
	}
	return fmt.Errorf("it is a link to %s, which does not exist", to)
}

func (d Dir) ensure(id Identity, out *Outcome) error {
	if !exists(d.Path) {
		if err := d.create(id, out); err != nil {
			return err
		}
	}
	err := d.try(id)
	dir := d.toGive(err, id)
	if dir == nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	// Root puts right what is wrong: this one directory, not what lies in it.
	if give(dir, id, 0o770) != nil {
		return err
	}
	out.Given = true
	return d.try(id)
}

// foresee is ensure without doing it: what it makes and gives is only noted.
func (d Dir) foresee(id Identity, out *Outcome) error {
	if !exists(d.Path) {
		err := lookAbove(d.Path, id)
		for at := d.Path; err == nil && !exists(at); at = filepath.Dir(at) {
			out.Made = append([]string{at}, out.Made...)
		}
		return err
	}
	err := d.try(id)
	if errors.Is(err, unix.ENOSPC) && reclaimable(d.Path, id) {
		return nil
	}
	dir := d.toGive(err, id)
	if dir == nil {
		return err
	}
	out.Given = true
	return dir.Close()
}

// toGive opens a directory that root may give to id, now that err keeps id out of it: not what
// somebody else's link leads to. Nil where there is none.
func (d Dir) toGive(err error, id Identity) *os.File {
	if d.Giving == GiveNever || !givable(err, id) || mayAccess(filepath.Dir(d.Path), id, wantThrough) != nil {
		return nil
	}
	fd, err := openUnled(d.Path)
	if err != nil {
		return nil
	}
	dir := os.NewFile(uintptr(fd), d.Path)
	if d.Giving == GiveUnused && !isUnused(dir) {
		_ = dir.Close()
		return nil
	}
	return dir
}

// isUnused tells whether a directory is root's, for nobody else to write to, and empty but for
// what ext4 puts into a new file system. A directory with other content is somebody's, as /run,
// even where it is a mount.
func isUnused(dir *os.File) bool {
	var st unix.Stat_t
	if named, err := os.Lstat(dir.Name()); err != nil || !named.IsDir() { // a link to it has its reasons
		return false
	}
	if fstat(int(dir.Fd()), &st) != nil || st.Uid != 0 || st.Mode&(unix.S_ISVTX|0o022) != 0 {
		return false
	}
	names, err := dir.Readdirnames(2)
	return errors.Is(err, io.EOF) || err == nil && len(names) == 1 && names[0] == "lost+found"
}

// givable tells that an error goes away when root makes id the owner, unless the way there is
// closed to id.
func givable(err error, id Identity) bool {
	return errors.Is(err, fs.ErrPermission) && os.Geteuid() == 0 && id.UID != 0 && capable(unix.CAP_CHOWN)
}

// MakeShared makes a directory for everybody, as /tmp is, where it is missing.
func MakeShared(path string) Outcome { return makeShared(Bound, path) }

func makeShared(bound time.Duration, path string) Outcome {
	e := Error{Op: makeDir, Path: path, For: "programs that know no TMPDIR", As: Self()}
	out, err := Within(bound, path, func() (Outcome, error) {
		var out Outcome
		if exists(path) {
			return out, nil
		}
		if err := makeAll(path, fs.ModeSticky|0o777, &out); err != nil {
			failed := e
			failed.Err = err
			out.Fault, out.Warning = failed.explain(), true
		}
		return out, nil
	})
	if err != nil {
		out.Fault, out.Warning = hung(e, err), true
	}
	return out
}

// create makes the directory as id, so that it is id's own, and where id may not, as
// ourselves, to give it away.
func (d Dir) create(id Identity, out *Outcome) error {
	err := As(id, func() error { return makeAll(d.Path, d.Mode, out) })
	if err == nil || Self().UID == id.UID {
		return err
	}
	return makeUnled(d.Path, d.Mode, id, out)
}

// makeAll makes missing parents 0755 and the directory itself with exactly this mode,
// and writes down what it made. A directory that somebody else makes meanwhile is taken
// as it is.
func makeAll(path string, mode fs.FileMode, out *Outcome) error {
	if above := filepath.Dir(path); !exists(above) {
		if err := makeAll(above, 0o755, out); err != nil {
			return err
		}
	}
	// Mkdir follows no link in its last part (man 2 mkdir).
	if err := os.Mkdir(path, mode.Perm()); err != nil {
		if errors.Is(err, fs.ErrExist) && exists(path) {
			return nil
		}
		return err
	}
	out.Made = append(out.Made, path)
	return setMode(path, mode) // the umask took bits away, and mkdir takes no sticky bit
}

// setMode changes a directory's mode without following a link.
func setMode(path string, mode fs.FileMode) error {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Chmod(mode)
}

// give makes id the owner of one directory and adds mode bits.
func give(dir *os.File, id Identity, add fs.FileMode) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	// The mode comes last: chown takes set-id bits away (man 2 chown).
	return cmp.Or(dir.Chown(id.UID, id.GID), dir.Chmod(info.Mode()|add))
}

// isOwn tells whether info is a directory of uid's whose content nobody else may see or
// change; one that others may pass through is ([Claim.LetIn]).
func isOwn(info fs.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(st.Uid) == uid && info.Mode().Perm()&^0o011 == 0o700
}
