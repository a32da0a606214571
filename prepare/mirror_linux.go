package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mirror keeps copies of an image's files in a directory that also holds a user's own.
// Copies and not links: who reads them may refuse what leads out of the directory.
//
// An entry at the top of Into is the mirror's or the user's as a whole. What is there
// when the mirror first comes is the user's and stays as it is; in what is the mirror's, a
// file that was changed since is the user's. A list in Into says what the mirror wrote.
type Mirror struct {
	// From is where the image has the files. Nothing is written there.
	From string
	// Into is the directory that is read. Where it is From, by whatever name, nothing is
	// to be done.
	Into string
	// Suffix is how the names of the files end that are wanted.
	Suffix string
	// For and Otherwise are as in [Error].
	For, Otherwise string
}

// MirrorReport is what came of it, as names relative to Into.
type MirrorReport struct {
	// Written are files that were missing or older; Removed are files and links of an
	// older image.
	Written, Removed []string
	// Kept are names of the image that are the user's here, so that the image's are not
	// seen.
	Kept []string
	// Same are how many files were right already.
	Same int
}

// Make brings Into up to date: as id, or, where id may not write and the directory is
// our own and nobody else's, as ourselves. A second run changes nothing. An error is an
// [Error] about Into, or says what of From cannot be read; what was done before it stays. It
// takes no longer than [Bound]; what does not answer then may be written to later.
func (m Mirror) Make(id Identity) (MirrorReport, error) { return m.makeWithin(Bound, id) }

func (m Mirror) makeWithin(bound time.Duration, id Identity) (MirrorReport, error) {
	r, err := Within(bound, m.Into, func() (MirrorReport, error) { return m.make(id) })
	return r, hung(Error{Op: writeTo, Path: m.Into, For: m.For, As: id, Otherwise: m.Otherwise}, err)
}

func (m Mirror) make(id Identity) (MirrorReport, error) {
	from, err := os.Stat(m.From)
	if err != nil {
		return MirrorReport{}, m.unreadable(err)
	}
	if into, err := os.Stat(m.Into); err == nil && os.SameFile(from, into) {
		return MirrorReport{}, nil
	}
	files, err := filesBelow(m.From, m.Suffix)
	if err != nil {
		return MirrorReport{}, m.unreadable(err)
	}
	if !exists(m.Into) {
		out := Dir{Path: m.Into, For: m.For, Mode: 0o755, Otherwise: m.Otherwise}.Make(id)
		if out.Fault != nil {
			return MirrorReport{}, out.Fault
		}
	}
	r, err := m.makeAs(id, files)
	if errors.Is(err, fs.ErrPermission) && m.isOurs() {
		self := Self()
		r, err = m.makeAs(self, files)
	}
	if err != nil {
		return r, &Error{Op: writeTo, Path: m.Into, For: m.For, As: id, Otherwise: m.Otherwise, Err: err, Found: found(m.Into)}
	}
	return r, nil
}

func (m Mirror) unreadable(err error) error {
	return fmt.Errorf("cannot read the image's own files in %s (%s): %w; the image is not complete", m.From, m.For, err)
}

// isOurs: nobody but us can change what is in the directory while we do.
func (m Mirror) isOurs() bool {
	info, err := os.Stat(m.Into)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	fd, err := openUnled(m.Into)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// makeAs works below a handle of the directory: no link in it leads a write out of it
// (os.Root).
func (m Mirror) makeAs(id Identity, files map[string][]byte) (MirrorReport, error) {
	w := mirroring{Mirror: m, files: maps.Clone(files)}
	err := As(id, func() error {
		root, err := os.OpenRoot(m.Into)
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }()
		w.root = root
		return w.run()
	})
	w.report.sort()
	return w.report, err
}

func (r *MirrorReport) sort() {
	for _, names := range [][]string{r.Written, r.Removed, r.Kept} {
		slices.Sort(names)
	}
}

// maxDepth bounds directories that are links to each other.
const maxDepth = 8

// filesBelow reads all files below dir whose names end so. Links are followed: stores
// are made of them. Names that begin with a dot are left out.
func filesBelow(dir, suffix string) (map[string][]byte, error) {
	files := map[string][]byte{}
	var walk func(name string, depth int) error
	walk = func(name string, depth int) error {
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil || depth > maxDepth {
			return err
		}
		for _, e := range entries {
			below := path.Join(name, e.Name())
			info, err := os.Stat(filepath.Join(dir, below))
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case err != nil:
				return err
			case info.IsDir():
				if err := walk(below, depth+1); err != nil {
					return err
				}
			case strings.HasSuffix(below, suffix):
				if files[below], err = ReadSmall(filepath.Join(dir, below)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return files, walk(".", 0)
}

// storeOf gives the directory of a package store that a path lies in, as /nix/store or
// /gnu/store, empty if in none.
func storeOf(p string) string {
	if before, _, ok := strings.Cut(p, "/store/"); ok {
		return before + "/store"
	}
	return ""
}
