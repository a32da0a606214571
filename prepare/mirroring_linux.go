package prepare

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
)

// mirroring is one run of a [Mirror].
type mirroring struct {
	Mirror
	root   *os.Root
	files  map[string][]byte
	report MirrorReport
	// listed are the sums that a path has, or may have, when it is the mirror's.
	listed map[string][]string
}

func (w *mirroring) run() error {
	raw, err := w.root.ReadFile(mirrorList)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.listed = parseList(string(raw))
	w.dropUsers()
	changes := w.changes()
	if changes || len(w.files) > 0 {
		// Before the files, with the sums of both: whenever we are interrupted, all that is
		// ours is known as ours.
		if err := w.writeList(string(raw), changes); err != nil {
			return err
		}
	}
	for _, step := range []func() error{w.removeOldLinks, w.write, w.removeOld} {
		if err := step(); err != nil {
			return err
		}
	}
	if raw, err = w.root.ReadFile(mirrorList); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.writeList(string(raw), false)
}

// dropUsers leaves out what is the user's at the top.
func (w *mirroring) dropUsers() {
	ours := map[string]bool{}
	for name := range w.listed {
		ours[top(name)] = true
	}
	kept := map[string]bool{}
	for name := range w.files {
		t := top(name)
		if _, seen := kept[t]; seen {
			continue
		}
		_, err := w.root.Lstat(t)
		kept[t] = !errors.Is(err, fs.ErrNotExist) && !ours[t] && !w.isOldLink(t)
		if kept[t] {
			w.report.Kept = append(w.report.Kept, t)
		}
	}
	maps.DeleteFunc(w.files, func(name string, _ []byte) bool { return kept[top(name)] })
}

// changes tells whether anything will be written over or removed.
func (w *mirroring) changes() bool {
	for name := range w.listed {
		content, wanted := w.files[name]
		if !wanted || !slices.Equal(w.listed[name], []string{sum(content)}) {
			return true
		}
	}
	return false
}

// removeOldLinks takes away links that an earlier image's start script made.
func (w *mirroring) removeOldLinks() error {
	dir, err := w.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if !w.isOldLink(name) {
			continue
		}
		if err := w.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		w.report.Removed = append(w.report.Removed, name)
	}
	return err
}

// isOldLink tells whether a name at the top is a link to the image's entry of that name:
// this image's, another one's in the same store, or one that is gone.
func (w *mirroring) isOldLink(name string) bool {
	target, err := w.root.Readlink(name)
	if err != nil || !filepath.IsAbs(target) {
		return false
	}
	target = filepath.Clean(target)
	from := filepath.Clean(w.From)
	if target == filepath.Join(from, name) {
		return true
	}
	if filepath.Base(target) != name || filepath.Base(filepath.Dir(target)) != filepath.Base(from) {
		return false
	}
	store := storeOf(from)
	return !exists(target) || store != "" && store == storeOf(target)
}

// write puts files in place that are missing or are the mirror's own, older ones.
func (w *mirroring) write() error {
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		content := w.files[name]
		switch state := w.state(name, content); state {
		case users:
			w.report.Kept = append(w.report.Kept, name)
		case same:
			w.report.Same++
		default:
			if err := w.makeDirs(path.Dir(name)); err != nil {
				return err
			}
			if err := w.replace(name, content); err != nil {
				return err
			}
			w.report.Written = append(w.report.Written, name)
		}
	}
	return nil
}

// state is what is in a file's place.
type state int

const (
	missing state = iota
	same
	older
	users
)

func (w *mirroring) state(name string, want []byte) state {
	if w.isBlocked(path.Dir(name)) {
		return users
	}
	info, err := w.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxSmall {
		return users
	}
	have, err := w.root.ReadFile(name)
	switch {
	case err != nil:
		return users
	case want != nil && string(have) == string(want):
		return same
	case slices.Contains(w.listed[name], sum(have)):
		return older
	default:
		return users
	}
}

// isBlocked tells whether something on the way to a directory is none, such as a link.
func (w *mirroring) isBlocked(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if info, err := w.root.Lstat(dir); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}

// removeOld takes away what the image has no more, and directories that are empty then.
func (w *mirroring) removeOld() error {
	for _, name := range slices.Sorted(maps.Keys(w.listed)) {
		if _, wanted := w.files[name]; wanted || w.state(name, nil) != older {
			continue
		}
		if err := w.root.Remove(name); err != nil {
			return err
		}
		w.report.Removed = append(w.report.Removed, name)
		for dir := path.Dir(name); dir != "." && w.root.Remove(dir) == nil; {
			dir = path.Dir(dir)
		}
	}
	return nil
}

func (w *mirroring) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if err := w.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	err := w.root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.root.Chmod(dir, 0o755) // whatever the umask: others read it
}

// replace puts a file in place whole.
func (w *mirroring) replace(name string, content []byte) error {
	temp := path.Join(path.Dir(name), ".ak-init-"+strconv.FormatUint(rand.Uint64(), 36))
	f, err := w.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = cmp.Or(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = w.root.Rename(temp, name)
	}
	if err != nil {
		_ = w.root.Remove(temp)
	}
	return err
}
