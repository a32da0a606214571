package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Reader looks at many paths, each within a bound. A mount that did not answer once is not
// asked again: all that lies on it is [ErrHung] at once, so that it costs one bound. It is
// for one goroutine.
type Reader struct {
	bound time.Duration
	// silent are mount points, or paths, that did not answer.
	silent []string
	faults []error
	// as is whose rights files are read with; nil: ours.
	as *Identity
}

// NewReader gives a reader whose every look takes at most the bound.
func NewReader(bound time.Duration) *Reader { return &Reader{bound: bound} }

// For is a reader that reads files with id's rights.
func (r *Reader) For(id Identity) *Reader {
	other := *r
	if self := Self(); id.UID != self.UID || id.GID != self.GID {
		other.as = &id
	}
	return &other
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

// IsExecutable tells whether a file may be a program.
func (r *Reader) IsExecutable(path string) bool {
	return quietly(r, Error{Op: "look at", Path: path}, func() (bool, error) { return executable(path) == nil, nil })
}

// Read is [ReadSmall].
func (r *Reader) Read(path string) ([]byte, error) {
	raw, err := look(r, Error{Op: "read", Path: path}, func() ([]byte, error) { return readSmall(path) })
	if err != nil || r.as == nil {
		return raw, err // what is not there for us is not there for anybody
	}
	return look(r, Error{Op: "read", Path: path, As: *r.as}, func() (raw []byte, err error) {
		err = As(*r.as, func() error { raw, err = readSmall(path); return err })
		return raw, err
	})
}

// LookAt is the function of that name.
func (r *Reader) LookAt(dir, origin string, id Identity) error {
	e := Error{Op: writeTo, Path: dir, For: origin, As: id, Otherwise: "set another TMPDIR"}
	_, err := look(r, e, func() (struct{}, error) { return struct{}{}, lookAtFully(dir, origin, id) })
	return err
}

// Executable is the function of that name.
func (r *Reader) Executable(name, searchPath string) (string, error) {
	return findExecutable(name, searchPath, func(path string) error {
		_, err := look(r, Error{Op: "look at", Path: path}, func() (struct{}, error) { return struct{}{}, executable(path) })
		return err
	})
}

// quietly is look for those who have no error to give: what is new of it is kept.
func quietly[T any](r *Reader, e Error, fn func() (T, error)) T {
	known := len(r.silent)
	value, err := look(r, e, fn)
	if len(r.silent) > known {
		r.faults = append(r.faults, err)
	}
	return value
}

// look runs fn within the bound; e is what is said where it hangs.
func look[T any](r *Reader, e Error, fn func() (T, error)) (T, error) {
	var none T
	if len(r.silent) > 0 {
		at := mountOf(e.Path).point
		if slices.ContainsFunc(r.silent, func(s string) bool { return s == at || s == e.Path }) {
			return none, hung(e, &hungError{e.Path, r.bound})
		}
	}
	value, err := Within(r.bound, e.Path, fn)
	if !errors.Is(err, ErrHung) {
		return value, err
	}
	at := mountOf(e.Path).point
	if at == "" || at == "/" { // too much hangs on that one
		at = e.Path
	}
	r.silent = append(r.silent, at)
	return none, hung(e, err)
}
