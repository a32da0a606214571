package prepare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Reader looks at many paths, each within a bound. A mount that did not answer once is not
// asked again: all that lies on it is [ErrHung] at once, so that it costs one bound. It is
// for one goroutine.
type Reader struct {
	*met
	// as is whose rights files are read with; nil: ours.
	as *Identity
}

// met is what a reader has met, which those share that it gives for others.
type met struct {
	bound time.Duration
	// silent are mount points, or paths, that did not answer.
	silent []string
	// told are those of them that are among the faults.
	told   []string
	faults []error
	// now is what is going on, where somebody attends to it; nil: each look has a goroutine to
	// be left behind.
	now *attended
}

// NewReader gives a reader whose every look takes at most the bound.
func NewReader(bound time.Duration) *Reader { return &Reader{met: &met{bound: bound}} }

// For is a reader that reads files with id's rights. What either meets, both know.
func (r *Reader) For(id Identity) *Reader {
	other := &Reader{met: r.met}
	if self := Self(); id.UID != self.UID || id.GID != self.GID {
		other.as = &id
	}
	return other
}

// Faults are what [Reader.Exists] and [Reader.Glob] met and cannot say: a line for each
// mount that did not answer.
func (r *Reader) Faults() []error { return r.faults }

// Exists tells whether there is a file. One that does not answer counts as missing.
func (r *Reader) Exists(path string) bool {
	return quietly(r, Error{Op: "look at", Path: path}, func() (bool, error) {
		_, err := os.Stat(path)
		return err == nil, nil
	})
}

// Glob gives the files that match a pattern. A directory that does not answer has none.
func (r *Reader) Glob(pattern string) []string {
	return quietly(r, Error{Op: "list", Path: filepath.Dir(pattern)}, func() ([]string, error) {
		return filepath.Glob(pattern)
	})
}

// Room is the function of that name.
func (r *Reader) Room(dir string) (Space, error) {
	return look(r, Error{Op: "look at", Path: dir}, func() (Space, error) { return room(dir) })
}

// IsMount tells whether a mount begins at exactly this path. Nothing there is none.
func (r *Reader) IsMount(path string) bool {
	return quietly(r, Error{Op: "look at", Path: path}, func() (bool, error) { return isMount(path), nil })
}

// WorkingDir is where this process stands, empty where that is gone or does not answer.
func (r *Reader) WorkingDir() string {
	return quietly(r, Error{Op: "look at", Path: "."}, os.Getwd)
}

// Names gives the names in a directory. One that cannot be listed has none.
func (r *Reader) Names(dir string) []string {
	return quietly(r, Error{Op: "list", Path: dir}, func() ([]string, error) {
		entries, err := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names, err
	})
}

// Readlink gives what a link holds.
func (r *Reader) Readlink(path string) (string, error) {
	return look(r, Error{Op: "read", Path: path}, func() (string, error) { return os.Readlink(path) })
}

// Head gives the first n bytes of a file, or what there are.
func (r *Reader) Head(path string, n int) ([]byte, error) {
	return look(r, Error{Op: "read", Path: path}, func() ([]byte, error) { return readHead(path, n) })
}

// IsExecutable tells whether a file may be a program.
func (r *Reader) IsExecutable(path string) bool {
	return quietly(r, Error{Op: "look at", Path: path}, func() (bool, error) { return executable(path) == nil, nil })
}

// SameFile tells whether two paths lead to one file.
func (r *Reader) SameFile(a, b string) bool {
	first := quietly(r, Error{Op: "look at", Path: a}, func() (fs.FileInfo, error) { return os.Stat(a) })
	second := quietly(r, Error{Op: "look at", Path: b}, func() (fs.FileInfo, error) { return os.Stat(b) })
	return first != nil && second != nil && os.SameFile(first, second)
}

// Read is [ReadSmall]. Root without CAP_DAC_OVERRIDE, or on a file server that takes it for
// nobody (exports(5), root_squash), cannot read all that the children can: only what is not
// there for us is there for nobody.
func (r *Reader) Read(path string) ([]byte, error) {
	raw, err := look(r, Error{Op: "read", Path: path}, func() ([]byte, error) { return readSmall(path) })
	if r.as == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrHung) {
		return raw, err
	}
	return look(r, Error{Op: "read", Path: path, As: *r.as}, func() (raw []byte, err error) {
		err = As(*r.as, func() error { raw, err = readSmall(path); return err })
		return raw, err
	})
}

// Listed tells whether there is a file for those who list its directory first, as Python does to
// import a module (docs.python.org, importlib, FileFinder): what they cannot see is passed over.
// The error is why they cannot read what they see.
func (r *Reader) Listed(path string) (there bool, err error) {
	if !r.Exists(path) { // the usual case, and costs one system call
		return false, nil
	}
	id := Self()
	if r.as != nil {
		id = *r.as
	}
	return look(r, Error{Op: "read", Path: path, As: id}, func() (there bool, err error) {
		err = As(id, func() (err error) { there, err = listed(path); return err })
		return there, err
	})
}

// Socket tells whether id may connect to a unix socket, which takes the right to write to it
// (unix(7)). Nothing there gives an empty path and no error.
func (r *Reader) Socket(path string, id Identity) (there string, err error) {
	return look(r, Error{Op: "look at", Path: path, For: "a socket", As: id}, func() (string, error) { return socketFor(path, id) })
}

// WithGroupOf adds a socket's group, such as docker.sock's, to id's. No socket, or none that
// answers, no group.
func (r *Reader) WithGroupOf(id Identity, path string) Identity {
	gid, err := look(r, Error{Op: "look at", Path: path, For: "its group"}, func() (int, error) { return groupOf(path) })
	if err == nil && !slices.Contains(id.Groups, gid) {
		id.Groups = append(slices.Clone(id.Groups), gid)
	}
	return id
}

// Become gives the identity behind "NAME", "UID" or "UID:GID" for self's children, by the
// files of users and groups (passwd(5), group(5)).
func (r *Reader) Become(self Identity, spec string) (Identity, error) {
	return look(r, Error{Op: "read", Path: "/etc/passwd"}, func() (Identity, error) { return become(self, spec) })
}

// LookAt tells, without writing, whether a directory can be a TMPDIR for id: it is one, or
// can be made, id may write there, it is not full but for what a sweep removes, and sockets
// fit. What only writing can tell, such as a quota, [Dir.Make] finds out. origin is who named
// it, for the one line that says why not.
func (r *Reader) LookAt(dir, origin string, id Identity) error {
	e := Error{Op: writeTo, Path: dir, For: origin, As: id, Otherwise: "set another TMPDIR"}
	_, err := look(r, e, func() (struct{}, error) { return struct{}{}, lookAtFully(dir, origin, id) })
	return err
}

// MayGive tells whether root may give a directory that id cannot write to, because somebody named
// it for id's use and nobody uses it: it is root's, for nobody else to write to, empty and no
// link, nobody but root could lead the way there elsewhere, and id can go it.
func (r *Reader) MayGive(dir string, id Identity) bool {
	return quietly(r, Error{Op: "look at", Path: dir}, func() (bool, error) {
		opened := Dir{Path: dir, Giving: GiveUnused}.toGive(mayWrite(dir, id), id)
		if opened == nil {
			return false, nil
		}
		return true, opened.Close()
	})
}

// Executable finds a program by its name in a search path, or by its path. What does not answer
// within the bound is passed over.
func (r *Reader) Executable(name, searchPath string) (string, error) {
	return findExecutable(name, searchPath, func(path string) error {
		_, err := look(r, Error{Op: "look at", Path: path}, func() (struct{}, error) { return struct{}{}, executable(path) })
		return err
	})
}

// quietly is look for those who have no error to give: what is new of it is kept.
func quietly[T any](r *Reader, e Error, fn func() (T, error)) T {
	value, err := look(r, e, fn)
	if at := r.silence(e.Path); at != "" && !slices.Contains(r.told, at) {
		r.told, r.faults = append(r.told, at), append(r.faults, err)
	}
	return value
}

// silence gives the mount, or the path, that did not answer and on which a path lies.
func (r *met) silence(path string) string {
	if len(r.silent) == 0 {
		return ""
	}
	mount := mountOf(path).point
	if i := slices.IndexFunc(r.silent, func(s string) bool { return s == mount || s == path }); i >= 0 {
		return r.silent[i]
	}
	return ""
}

// silenced notes that a path did not answer.
func (r *met) silenced(path string) {
	at := mountOf(path).point
	if at == "" || at == "/" { // too much hangs on that one
		at = path
	}
	r.silent = append(r.silent, at)
}

// look runs fn within the bound; e is what is said where it hangs.
func look[T any](r *Reader, e Error, fn func() (T, error)) (T, error) {
	var none T
	if r.silence(e.Path) != "" {
		return none, hung(e, &hungError{e.Path, r.bound})
	}
	if r.now != nil {
		r.now.begin(e.Path)
		value, err := fn()
		r.now.end()
		return value, err
	}
	value, err := Within(r.bound, e.Path, fn)
	if !errors.Is(err, ErrHung) {
		return value, err
	}
	r.silenced(e.Path)
	return none, hung(e, err)
}
