package prepare

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a directory whose whole content must belong to the children.
type Tree struct {
	// Path is absolute. A link on the way, or at its end, is followed where only root and we
	// could have made it, as in a relocated /data or /var/run; in a directory that the children
	// write to, a link is theirs.
	Path string
	// For is what it is needed for, as "uploads".
	For string
	// ReadOnly: reading is enough, as with certificates, which other containers may share.
	// Nothing is given away; what the identity cannot read is told.
	ReadOnly bool
	// Origin is as in [Dir].
	Origin string
}

// Fix is what is done about entries of a [Tree] whose owner is wrong.
type Fix string

// The fixes that there are.
const (
	// FixNever looks and counts, and changes nothing.
	FixNever Fix = "never"
	// FixWrong changes what is wrong. A tree that is right is not written to.
	FixWrong Fix = "wrong"
	// FixAlways changes every entry, as chown -R does.
	FixAlways Fix = "always"
)

// OwnerReport is what came of looking through a tree. Nothing in it is a reason not to
// start.
type OwnerReport struct {
	// Looked counts entries, Wrong those that another owner has or that cannot be read,
	// Changed those that were given to the identity.
	Looked, Wrong, Changed int
	// Left counts entries that are wrong and that nobody may be given: devices, and files
	// with another name, which may lie anywhere.
	Left int
	// Failed counts entries that could not be looked at, read or changed.
	Failed int
	// First are the first of what was left or failed, a line each, five at most. A read-only
	// file system is in there once.
	First []error
	Took  time.Duration
	// GaveUp tells that the context ended before all was looked at, or that nothing answered
	// for [Bound]; then one of First is [ErrHung].
	GaveUp bool
}

// maxTold bounds how many lines one tree, or one sweep, is worth.
const maxTold = 5

// progressEvery is the time between two calls of progress; whoever waits longer wants to
// know that it goes on. In between it is looked stallsEvery whether it does.
const (
	progressEvery = 2 * time.Second
	stallsEvery   = 500 * time.Millisecond
)

// patience is how long an ended context waits for system calls that hang, as on a file
// server that is gone.
const patience = time.Second

// lookers is how many look at a tree at a time where each mostly waits, for a disk or a file
// server. Where nothing has to be waited for, as many look as there are processors.
const lookers = 16

// owning is one run through a tree.
type owning struct {
	Tree
	id  Identity
	fix Fix

	wrong, changed, left, failed atomic.Int64

	mu    sync.Mutex
	first []error
	// readOnly are the devices that have been told as read-only.
	readOnly map[uint64]bool
}

// Own looks at all entries of the tree and gives those that are not id's to it. It does
// nothing unless root works for an id that is not root; a ReadOnly tree is looked at by
// whoever we are. An entry is right when its uid is id's and its gid is one of id's: files
// of a Kubernetes volume have fsGroup as their group, and keep it. Mounts below are gone
// through as chown -R does. When ctx ends Own returns within a second, and when nothing
// answers for [Bound] little later than that, though a system call that hangs may change one
// last entry later. progress, which may be nil, is called in this
// goroutine every two seconds.
func (t Tree) Own(ctx context.Context, id Identity, fix Fix, progress func(looked, changed int)) OwnerReport {
	return t.own(ctx, Bound, id, fix, progress)
}

func (t Tree) own(ctx context.Context, bound time.Duration, id Identity, fix Fix, progress func(looked, changed int)) OwnerReport {
	begin := time.Now()
	o := &owning{Tree: t, id: id, fix: fix, readOnly: map[uint64]bool{}}
	if !t.ReadOnly && (os.Geteuid() != 0 || id.UID == 0) {
		return OwnerReport{}
	}
	w := newWalk(lookers, o.look, o.cannotEnter)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends when the workers have
		defer close(done)
		o.run(ctx, w)
	}()
	stalled := o.await(ctx, done, bound, w, func() {
		if progress != nil {
			progress(int(w.looked()), int(o.changed.Load()))
		}
	})
	if stalled {
		at := filepath.Join(o.Path, w.reading())
		err := hung(Error{Op: "look through", Path: at, For: o.For}, &hungError{at, bound})
		o.mu.Lock()
		o.first = append([]error{err}, o.first[:min(len(o.first), maxTold-1)]...)
		o.mu.Unlock()
	}
	return o.report(w, time.Since(begin))
}

// await waits for the end, or for ctx and then no longer than patience. It tells whether it
// gave up because nothing moved.
func (o *owning) await(ctx context.Context, done <-chan struct{}, bound time.Duration, w *walk, progress func()) (stalled bool) {
	tick, stalls := time.NewTicker(progressEvery), time.NewTicker(min(stallsEvery, bound))
	defer tick.Stop()
	defer stalls.Stop()
	moved, since := w.moved(), time.Now()
	for {
		select {
		case <-done:
			return false
		case <-tick.C:
			progress()
		case <-stalls.C:
			switch now := w.moved(); {
			case now != moved:
				moved, since = now, time.Now()
			case time.Since(since) >= bound:
				return true
			}
		case <-ctx.Done():
			select {
			case <-done:
			case <-time.After(patience):
			}
			return false
		}
	}
}

func (o *owning) report(w *walk, took time.Duration) OwnerReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	return OwnerReport{
		Looked: int(w.looked()), Wrong: int(o.wrong.Load()), Changed: int(o.changed.Load()),
		Left: int(o.left.Load()), Failed: int(o.failed.Load()), First: slices.Clone(o.first), Took: took, GaveUp: !w.complete.Load(),
	}
}

// run looks at the top and lets workers look at the rest. Whether something can be read
// is tried with the identity's rights, which a thread has.
func (o *owning) run(ctx context.Context, w *walk) {
	as := func(fn func() error) error {
		runtime.LockOSThread() // never unlocked: threads that a file server kept waiting end with the walk
		return fn()
	}
	if o.ReadOnly {
		as = func(fn func() error) error { return As(o.id, fn) }
	}
	var root int
	err := as(func() (err error) {
		root, err = openUnled(o.Path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		w.complete.Store(true)
		return
	}
	if err != nil {
		w.complete.Store(true)
		o.fail(cannotRead, o.Path, err)
		return
	}
	defer func() { _ = unix.Close(root) }()
	if !o.ReadOnly {
		o.judge(root, o.Path)
	}
	w.run(ctx, root, as)
}

// look judges one entry by its directory's descriptor and its name, which is one part and
// neither "." nor "..". It tells whether it is a directory.
func (o *owning) look(in *directory, e entry) bool {
	var st unix.Stat_t
	err := e.stat(in.fd, &st)
	if err == unix.ENOENT {
		return false // it has been removed meanwhile
	}
	if err != nil {
		o.fail("look at", o.pathOf(in, e.String()), err)
		return false
	}
	switch {
	case o.ReadOnly:
		o.tryRead(in, e.String(), &st)
	case o.fix == FixAlways || !belongs(&st, o.id):
		o.pin(in, e.String())
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// tryRead asks the kernel with the rights of this thread. What a link leads to is what
// will be read: Kubernetes mounts secrets as links.
func (o *owning) tryRead(in *directory, name string, st *unix.Stat_t) {
	mode := uint32(unix.R_OK)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode |= unix.X_OK
	}
	if err := access(in.fd, name, mode); err == unix.EACCES {
		o.wrong.Add(1)
		if mode&unix.X_OK == 0 { // a directory fails when it is entered
			o.fail(cannotRead, o.pathOf(in, name), err)
		}
	}
}

func (o *owning) pathOf(in *directory, name string) string {
	return filepath.Join(o.Path, in.path(), name)
}
