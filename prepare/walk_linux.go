package prepare

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// walk goes through a tree with several workers. No link is ever followed, whoever swaps
// what meanwhile: each look names one part below a directory's descriptor, with
// AT_SYMLINK_NOFOLLOW, and each open is one that the kernel refuses where a link is on the
// way, see openBelow. No name is ".." or holds a slash, so nothing leads out either.
type walk struct {
	// look judges an entry and tells whether it is a directory to go through.
	look func(in *directory, name string) bool
	// cannotEnter hears of a directory that cannot be opened or read.
	cannotEnter func(d *directory, err error)
	// looked counts entries, moved whatever shows that the file system answers.
	looked, moved atomic.Int64
	// complete tells that everything was looked at.
	complete atomic.Bool

	mu   sync.Mutex
	more *sync.Cond
	// stack are the directories still to be read, the next one last: who goes deep first
	// has few of them waiting.
	stack []*directory
	// busy are the directories that workers read, each of whom may add to stack.
	busy map[*directory]bool
	root int
}

// directory is one to be read. While it waits it is a path and no descriptor: there may be
// more waiting than a process may have descriptors.
type directory struct {
	// path is from the root, and empty for that.
	path string
	// fd is -1 until it is opened.
	fd int
	// name is the entry that is looked at, nil before the first.
	name atomic.Pointer[string]
}

// enough is how many subdirectories of one directory are noted before they are read: a
// directory may have a million of them.
const enough = 4096

func newWalk(look func(*directory, string) bool, cannotEnter func(*directory, error)) *walk {
	w := &walk{look: look, cannotEnter: cannotEnter, busy: map[*directory]bool{}}
	w.more = sync.NewCond(&w.mu)
	return w
}

// run reads all below root, with each worker started by as. It returns when they have ended.
func (w *walk) run(ctx context.Context, root, workers int, as func(func() error) error) {
	w.root, w.stack = root, []*directory{{fd: -1}}
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock() // between a worker's asking for ctx and its waiting
		defer w.mu.Unlock()
		w.more.Broadcast()
	})()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			_ = as(func() error { // what it could fail with, opening the root has shown
				w.work(ctx)
				return nil
			})
		})
	}
	all.Wait()
	for _, d := range w.stack {
		d.close()
	}
	w.complete.Store(len(w.stack) == 0)
}

// reading gives a path that is being looked at, empty for the root, or where there is none.
func (w *walk) reading() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.busy {
		if name := d.name.Load(); name != nil {
			return filepath.Join(d.path, *name)
		}
		return d.path
	}
	return ""
}

func (w *walk) work(ctx context.Context) {
	buf := make([]byte, 64<<10)
	for d := w.next(ctx); d != nil; d = w.next(ctx) {
		below, whole := w.read(ctx, d, buf)
		w.mu.Lock()
		if whole {
			d.close()
		} else {
			w.stack = append(w.stack, d)
		}
		w.stack = append(w.stack, below...)
		delete(w.busy, d)
		w.mu.Unlock()
		w.more.Broadcast()
	}
}

// next waits for a directory, and gives nil when there are no more or ctx has ended.
func (w *walk) next(ctx context.Context) *directory {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.stack) == 0 && len(w.busy) > 0 && ctx.Err() == nil {
		w.more.Wait()
	}
	last := len(w.stack) - 1
	if last < 0 || ctx.Err() != nil {
		return nil
	}
	d := w.stack[last]
	w.stack = w.stack[:last]
	w.busy[d] = true
	return d
}

// read looks at a directory's entries and gives its subdirectories. It stops when there are
// enough of these, to go on later where the descriptor stands.
func (w *walk) read(ctx context.Context, d *directory, buf []byte) (below []*directory, whole bool) {
	if d.fd < 0 && !w.open(d) {
		return nil, true
	}
	for len(below) < enough {
		n, err := unix.ReadDirent(d.fd, buf)
		w.moved.Add(1)
		if n <= 0 || err != nil {
			if err != nil && err != unix.ENOENT { // removed meanwhile
				w.cannotEnter(d, err)
			}
			return below, true
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for i, name := range names {
			if ctx.Err() != nil {
				return below, false
			}
			d.name.Store(&names[i])
			if w.look(d, name) {
				below = append(below, &directory{path: filepath.Join(d.path, name), fd: -1})
			}
			w.looked.Add(1)
			w.moved.Add(1)
		}
	}
	return below, false
}

func (w *walk) open(d *directory) bool {
	fd, err := openBelow(w.root, d.path)
	switch {
	case err == nil:
		d.fd = fd
		return true
	case errors.Is(err, fs.ErrNotExist), err == unix.ENOTDIR, err == unix.ELOOP:
		return false // it has been removed, or something else has its name by now
	default:
		w.cannotEnter(d, err)
		return false
	}
}

func (d *directory) close() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
	}
}
