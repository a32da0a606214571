package prepare

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// walk goes through a tree with several workers. No link is ever followed, whoever swaps
// what meanwhile: each look names one part below a directory's descriptor, with
// AT_SYMLINK_NOFOLLOW, and each open is one that the kernel refuses where a link is on the
// way, see openBelow. No name is ".." or holds a slash, so nothing leads out either.
type walk struct {
	// look judges an entry and tells whether it is a directory to go through.
	look func(in *directory, name entry) bool
	// cannotEnter hears of a directory that cannot be opened or read.
	cannotEnter func(d *directory, err error)
	// complete tells that everything was looked at.
	complete atomic.Bool
	// most is how many workers there may be, and pace how often it is asked whether more than
	// there are now would help.
	most int
	pace time.Duration

	mu sync.Mutex
	// more tells of work, or that no more will come.
	more *sync.Cond
	// begun are directories that are open and not read to their end, waiting those that are
	// not open. Of both the next one is last: who goes deep first has few of them.
	begun, waiting []*directory
	// workers are those that run, of whom so many are busy in a directory. Let is how many
	// there may be by now: as there are processors, at first.
	workers []*worker
	busy    int
	let     int
	start   func(*worker)
	root    int
	enough  int
	// cut tells that ctx ended before a directory did.
	cut bool
}

// worker looks at some entries of a directory after the other. What it counts no other
// writes to: with a counter for all, each entry would wait for the other processors.
type worker struct {
	// in is whose entries they are, nil in between. walk.mu guards it.
	in *directory
	// looked counts entries, read what getdents64(2) was asked for.
	looked, read atomic.Int64

	// filling is held while the kernel writes to names.
	filling sync.Mutex
	names   [8 << 10]byte
	// at is where in names the entry begins that is looked at, negative where there is none.
	at atomic.Int64
}

// directory is one to be read. While it waits it is a path and no descriptor: there may be
// more waiting than a process may have descriptors.
type directory struct {
	// in is the directory that has it under name, nil for the root. Thousands wait, as deep as
	// who made them likes: with a path each they would take as much memory as he likes.
	in   *directory
	name string
	// fd is -1 until it is opened.
	fd int
	// users are the workers that look at some of its entries, read tells that there are no
	// others. walk.mu guards both.
	users int
	read  bool
}

// path is from the root, and empty for that.
func (d *directory) path() string {
	var parts []string
	for ; d.in != nil; d = d.in {
		parts = append(parts, d.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// enough is how many directories wait, as a rule, before one that has more of them is read
// on: it may have a million.
const enough = 4096

func newWalk(most int, look func(*directory, entry) bool, cannotEnter func(*directory, error)) *walk {
	w := &walk{
		look: look, cannotEnter: cannotEnter, most: most, enough: enough,
		pace: 2 * time.Millisecond, let: min(most, runtime.GOMAXPROCS(0)),
	}
	w.more = sync.NewCond(&w.mu)
	return w
}

// looked is how many entries have been looked at.
func (w *walk) looked() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.workers {
		n += k.looked.Load()
	}
	return n
}

// moved grows with whatever shows that the file system answers.
func (w *walk) moved() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.workers {
		n += k.looked.Load() + k.read.Load()
	}
	return n
}

// run reads all below root, with each worker started by as. It returns when they have ended.
func (w *walk) run(ctx context.Context, root int, as func(func() error) error) {
	w.root, w.waiting = root, []*directory{{fd: -1}}
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock() // between a worker's asking for ctx and its waiting
		defer w.mu.Unlock()
		w.more.Broadcast()
	})()
	var all sync.WaitGroup
	w.start = func(k *worker) {
		all.Go(func() {
			_ = as(func() error { // what it could fail with, opening the root has shown
				w.work(ctx, k)
				return nil
			})
		})
	}
	w.mu.Lock()
	w.call()
	w.workers[0].looked.Add(1) // the root
	w.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	go w.widen(done)
	all.Wait()
	for _, d := range w.begun {
		_ = unix.Close(d.fd)
	}
	w.complete.Store(!w.cut && len(w.begun)+len(w.waiting) == 0)
}

// call gets those who wait, and as many more as are needed, to do what there is: a small
// tree needs one worker, and each may be a thread. w.mu is held.
func (w *walk) call() {
	for len(w.begun)+len(w.waiting) > len(w.workers)-w.busy && len(w.workers) < w.let {
		k := &worker{}
		w.workers = append(w.workers, k)
		w.start(k)
	}
	w.more.Broadcast()
}

// widen lets twice as many workers in while those that there are wait rather than work: a disk
// or a file server answers many as fast as one.
func (w *walk) widen(done <-chan struct{}) {
	tick := time.NewTicker(w.pace)
	defer tick.Stop()
	for before := w.looked(); ; {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := w.looked()
		w.mu.Lock()
		if wait(now-before, len(w.workers), w.pace) {
			w.let = min(2*w.let, w.most)
			w.call()
		}
		w.mu.Unlock()
		before = now
	}
}

// slowLook is one that waited: what the kernel has in its caches it tells in a microsecond or two.
const slowLook = 20 * time.Microsecond

// wait tells whether workers that had so many looks in that time were waiting.
func wait(looks int64, workers int, in time.Duration) bool {
	return time.Duration(looks)*slowLook < in*time.Duration(workers)
}

// reading gives a path that is being looked at, empty for the root, or where there is none.
func (w *walk) reading() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.workers {
		if k.in != nil {
			return filepath.Join(k.in.path(), k.reading())
		}
	}
	return ""
}

// reading gives the name that is being looked at, empty where it is the directory itself.
func (k *worker) reading() string {
	if !k.filling.TryLock() {
		return ""
	}
	defer k.filling.Unlock()
	at := k.at.Load()
	if at < 0 {
		return ""
	}
	name, _ := entryOf(k.names[at:])
	return name.String()
}

func (w *walk) work(ctx context.Context, k *worker) {
	for w.enter(ctx, k) {
		entries, end := w.fill(k)
		w.pass(k.in, end)
		below, whole := w.read(ctx, k, entries)
		w.leave(k, below, whole)
	}
}

// enter waits for a directory, and tells whether there is one: there is none when all are
// read, or ctx has ended.
func (w *walk) enter(ctx context.Context, k *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.begun)+len(w.waiting) == 0 && w.busy > 0 && ctx.Err() == nil {
		w.more.Wait()
	}
	from := &w.waiting // unless few wait, or many descriptors are held
	if len(w.begun) > 0 && (len(w.waiting) < w.enough || len(w.begun) >= w.most) {
		from = &w.begun
	}
	last := len(*from) - 1
	if last < 0 || ctx.Err() != nil {
		return false
	}
	k.in, *from = (*from)[last], (*from)[:last]
	k.in.users++
	k.at.Store(-1)
	w.busy++
	return true
}

// fill gives as many of the directory's entries as there is room for, and whether it has no
// others.
func (w *walk) fill(k *worker) (entries []byte, end bool) {
	d := k.in
	if d.fd < 0 && !w.open(d) {
		k.read.Add(1) // a no is an answer, too
		return nil, true
	}
	k.filling.Lock()
	defer k.filling.Unlock()
	n := 0
	for len(k.names)-n >= int(unsafe.Sizeof(unix.Dirent{})) {
		more, err := getdents(d.fd, k.names[n:])
		k.read.Add(1)
		if err != nil && n > 0 { // the next may be too long for what room is left; else it fails again
			return k.names[:n], false
		}
		if err != nil && err != unix.ENOENT { // removed meanwhile
			w.cannotEnter(d, err)
		}
		if err != nil || more == 0 {
			return k.names[:n], true
		}
		n += more
	}
	return k.names[:n], false
}

// pass lets others read on in a directory.
func (w *walk) pass(d *directory, end bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.read = end; !end {
		w.begun = append(w.begun, d)
		w.call()
	}
}

// read looks at entries and gives the directories among them. It tells whether that were
// all, or ctx ended before.
func (w *walk) read(ctx context.Context, k *worker, entries []byte) (below []*directory, whole bool) {
	for at := 0; at < len(entries); {
		if ctx.Err() != nil {
			return below, false
		}
		k.at.Store(int64(at))
		name, size := entryOf(entries[at:])
		at += size
		if name.isDots() {
			continue
		}
		if w.look(k.in, name) {
			below = append(below, &directory{in: k.in, name: name.String(), fd: -1})
		}
		k.looked.Add(1)
	}
	return below, true
}

// leave ends what enter began. The last to leave a directory that is read closes it.
func (w *walk) leave(k *worker, below []*directory, whole bool) {
	w.mu.Lock()
	d := k.in
	k.in = nil
	w.busy--
	d.users--
	last := d.read && d.users == 0
	w.cut = w.cut || !whole
	w.waiting = append(w.waiting, below...)
	w.call()
	w.mu.Unlock()
	if last && d.fd >= 0 {
		_ = unix.Close(d.fd)
	}
}

func (w *walk) open(d *directory) bool {
	fd, err := openBelow(w.root, d.path())
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
