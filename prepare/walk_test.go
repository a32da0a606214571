package prepare

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
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

func isDir(in *directory, name entry) bool {
	var st unix.Stat_t
	return name.stat(in.fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
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
	w := newWalk(workers, func(_ *directory, name entry) bool {
		if come.Add(1) == workers {
			close(all)
		}
		select {
		case <-all:
		case <-time.After(10 * time.Second):
			t.Errorf("%d of %d look", come.Load(), workers)
		}
		if _, twice := seen.LoadOrStore(name.String(), true); twice {
			t.Errorf("%s twice", name)
		}
		return false
	}, nil)
	walkThrough(t, w, dir)
	if got := come.Load(); got != files || w.looked() != 1+files {
		t.Errorf("looked %d times, counted %d", got, w.looked())
	}
}

// A processor that works is one worker's: more are let in only where looks wait.
func TestAsManyLookAsThereAreProcessors(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	processors := runtime.GOMAXPROCS(0)
	var come atomic.Int64
	all := make(chan struct{})
	w := newWalk(processors+8, func(*directory, entry) bool {
		if come.Add(1) == int64(processors) {
			close(all)
		}
		<-all
		return false
	}, nil)
	w.pace = time.Hour // nobody asks
	walkThrough(t, w, dir)
	if len(w.workers) != processors {
		t.Errorf("%d workers, %d processors", len(w.workers), processors)
	}
	for _, tt := range []struct {
		looks   int64
		workers int
		want    bool
	}{{0, 1, true}, {99, 1, true}, {100, 1, false}, {100, 2, true}, {2000, 2, false}, {2, 16, true}} {
		if got := wait(tt.looks, tt.workers, 2*time.Millisecond); got != tt.want {
			t.Errorf("%d looks of %d workers wait: %v", tt.looks, tt.workers, got)
		}
	}
}

func TestASmallTreeTakesOneWorker(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWalk(lookers, isDir, nil)
	walkThrough(t, w, dir)
	if len(w.workers) != 1 || w.looked() != 4 {
		t.Errorf("%d workers looked at %d", len(w.workers), w.looked())
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
	w = newWalk(1, func(in *directory, name entry) bool {
		read = append(read, w.reading())
		return isDir(in, name)
	}, nil)
	walkThrough(t, w, dir)
	if len(read) != 2 || read[0] != "a" || read[1] != "a/b" {
		t.Errorf("read %q", read)
	}
	k := w.workers[0]
	k.in = &directory{in: &directory{}, name: "a/b", fd: -1}
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

// Directories that are not read to their end keep a descriptor, and there may be thousands of
// them: while enough wait, those are gone on with that are open.
func TestAWalkHoldsFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	const dirs, files = 120, 35
	long := strings.Repeat("n", 250) // more than there is room for at a time
	for i := range dirs {
		below := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(below, 0o700); err != nil {
			t.Fatal(err)
		}
		for n := range files {
			if err := os.Symlink("x", filepath.Join(below, long+strconv.Itoa(n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	few(t, 100)
	w := newWalk(lookers, isDir, func(d *directory, err error) { t.Errorf("%s: %v", d.path(), err) })
	w.enough = 4
	walkThrough(t, w, dir)
	if w.looked() != 1+dirs*(1+files) {
		t.Errorf("looked at %d", w.looked())
	}
}

// What waits deep down is known by its name and what has it, not by a path each: those would
// be 250 MiB here.
func TestADeepWalkNeedsLittleMemory(t *testing.T) {
	dir := t.TempDir()
	const depth, wide = 1000, 1000
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	deeper := strings.Repeat("d", 250)
	for range depth {
		if err := unix.Mkdirat(at, deeper, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, deeper, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(at)
		at = next
	}
	for i := range wide {
		if err := unix.Mkdirat(at, strconv.Itoa(i), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Close(at)
	var most uint64
	var w *walk
	w = newWalk(1, func(in *directory, name entry) bool {
		if w.looked() == depth+wide { // this is the last one, and all others wait
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = m.HeapAlloc
		}
		return isDir(in, name)
	}, nil)
	walkThrough(t, w, dir)
	if w.looked() != 1+depth+wide || most == 0 || most > 100<<20 {
		t.Errorf("looked at %d, with %d MiB", w.looked(), most>>20)
	}
}

// A name has 255 bytes at most where Linux made it, and more on servers of others, whose
// letters are not bytes: what is left of a buffer may be too little for one.
func TestNamesMayBeLongerThanLinuxMakesThem(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	const files = 100
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true},
		OnAdd: func(ctx context.Context) {
			for i := range files {
				file := root.NewPersistentInode(ctx, &fs.Inode{}, fs.StableAttr{Mode: unix.S_IFREG})
				root.AddChild(strconv.Itoa(100+i)+strings.Repeat("ж", 330), file, true)
			}
		},
	})
	if err != nil {
		t.Skipf("cannot mount FUSE here: %v", err)
	}
	defer func() { _ = server.Unmount() }()
	if r := own(t, dir, FixNever); r.Looked != 1+files || r.Failed > 0 || r.GaveUp {
		t.Errorf("%+v", r)
	}
}
