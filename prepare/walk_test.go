package prepare

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// walkThrough goes through a real directory.
func walkThrough(t *testing.T, w *walk, dir string) {
	t.Helper()
	root, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(root) }()
	w.run(t.Context(), root, func(fn func() error) error { return fn() })
	if !w.complete.Load() {
		t.Error("it ended early")
	}
	if w.busy > 0 || w.reading() != "" {
		t.Errorf("it has ended and reads %q", w.reading())
	}
}

func isDir(in *directory, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(in.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// A file server answers many as fast as one, and uploads lie in few directories: none is
// one worker's alone. All wait in their first look until the last has come.
func TestWorkersShareADirectory(t *testing.T) {
	dir := t.TempDir()
	const workers, files = 5, 3000
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var come atomic.Int64
	all := make(chan struct{})
	var seen sync.Map
	w := newWalk(workers, func(_ *directory, name string) bool {
		if come.Add(1) == workers {
			close(all)
		}
		select {
		case <-all:
		case <-time.After(10 * time.Second):
			t.Errorf("%d of %d look", come.Load(), workers)
		}
		if _, twice := seen.LoadOrStore(name, true); twice {
			t.Errorf("%s twice", name)
		}
		return false
	}, nil)
	walkThrough(t, w, dir)
	if got := come.Load(); got != files || w.looked() != 1+files {
		t.Errorf("looked %d times, counted %d", got, w.looked())
	}
}

func TestASmallTreeTakesOneWorker(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWalk(lookers, isDir, nil)
	walkThrough(t, w, dir)
	if w.started != 1 || w.looked() != 4 {
		t.Errorf("%d workers looked at %d", w.started, w.looked())
	}
}

// What is told of a walk that stands still is where: the entry, or its directory while that
// is opened and read.
func TestReadingIsWhatIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	var w *walk
	var read []string
	w = newWalk(1, func(in *directory, name string) bool {
		read = append(read, w.reading())
		return isDir(in, name)
	}, nil)
	walkThrough(t, w, dir)
	if len(read) != 2 || read[0] != "a" || read[1] != "a/b" {
		t.Errorf("read %q", read)
	}
	k := w.workers[0]
	k.in = &directory{path: "a/b", fd: -1}
	k.filling.Lock()
	if got := w.reading(); got != "a/b" {
		t.Errorf("while it is read: %q", got)
	}
	k.filling.Unlock()
	k.at.Store(-1)
	if got := w.reading(); got != "a/b" {
		t.Errorf("while it is opened: %q", got)
	}
}
