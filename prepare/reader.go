package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// Reader looks at many paths, each within a bound. A mount that did not answer once is not
// asked again: all that lies on it is [ErrHung] at once, so that it costs one bound. It is
// for one goroutine.
type Reader struct {
	bound time.Duration
	// met is what did not answer, the same for a reader and those that [Reader.For] gives.
	met *met
	// now is the look that is going on, where somebody attends to it; nil: each look has a
	// goroutine to be left behind.
	now *atomic.Pointer[looking]
	// as is whose rights files are read with; nil: ours.
	as *Identity
}

type met struct {
	// silent are mount points, or paths, that did not answer.
	silent []string
	// told are those of them that are among the faults.
	told   []string
	faults []error
}

// NewReader gives a reader whose every look takes at most the bound.
func NewReader(bound time.Duration) *Reader { return &Reader{bound: bound, met: &met{}} }

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
func (r *Reader) Faults() []error { return r.met.faults }

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

// IsMount is the function of that name.
func (r *Reader) IsMount(path string) bool {
	return quietly(r, Error{Op: "look at", Path: path}, func() (bool, error) { return IsMount(path), nil })
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
	value, err := look(r, e, fn)
	if at := r.silence(e.Path); at != "" && !slices.Contains(r.met.told, at) {
		r.met.told, r.met.faults = append(r.met.told, at), append(r.met.faults, err)
	}
	return value
}

// silence gives the mount, or the path, that did not answer and on which a path lies.
func (r *Reader) silence(path string) string {
	if len(r.met.silent) == 0 {
		return ""
	}
	mount := mountOf(path).point
	if i := slices.IndexFunc(r.met.silent, func(s string) bool { return s == mount || s == path }); i >= 0 {
		return r.met.silent[i]
	}
	return ""
}

// silenced notes that a path did not answer.
func (r *Reader) silenced(path string) {
	at := mountOf(path).point
	if at == "" || at == "/" { // too much hangs on that one
		at = path
	}
	r.met.silent = append(r.met.silent, at)
}

// look runs fn within the bound; e is what is said where it hangs.
func look[T any](r *Reader, e Error, fn func() (T, error)) (T, error) {
	var none T
	if r.silence(e.Path) != "" {
		return none, hung(e, &hungError{e.Path, r.bound})
	}
	if r.now != nil {
		r.now.Store(&looking{e.Path, time.Now()})
		defer r.now.Store(nil)
		return fn()
	}
	value, err := Within(r.bound, e.Path, fn)
	if !errors.Is(err, ErrHung) {
		return value, err
	}
	r.silenced(e.Path)
	return none, hung(e, err)
}

// looking is one look that has begun and not ended.
type looking struct {
	path  string
	since time.Time
}

// Patiently gives what fn gives, which looks by the reader alone and changes nothing. A look
// that hangs for the bound is left behind with all of fn, and fn is run anew by a reader that
// knows of it. So no look costs a goroutine of its own: a start has dozens.
func Patiently[T any](bound time.Duration, fn func(*Reader) T) T {
	var silent []string
	for {
		r := &Reader{bound: bound, met: &met{silent: slices.Clone(silent)}, now: new(atomic.Pointer[looking])}
		done := make(chan T, 1)
		go func() { done <- fn(r) }() // ends with fn, or with the process
		value, stuck := attend(bound, done, r.now)
		if stuck == "" {
			return value
		}
		next := Reader{met: &met{silent: silent}}
		next.silenced(stuck)
		silent = next.met.silent
	}
}

// attend waits for what is done, or for a look that takes longer than the bound and gives its
// path.
func attend[T any](bound time.Duration, done <-chan T, now *atomic.Pointer[looking]) (value T, stuck string) {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	for {
		select {
		case value := <-done:
			return value, ""
		case <-timer.C:
		}
		left := bound
		if l := now.Load(); l != nil {
			if left = bound - time.Since(l.since); left <= 0 {
				return value, l.path
			}
		}
		timer.Reset(left)
	}
}
