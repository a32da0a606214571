package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Stale names what an earlier run leaves behind in a TMPDIR. Who sweeps holds the claim on
// it, see [Take].
type Stale struct {
	// Dir is the TMPDIR as it was given, which may be a link.
	Dir string
	// Sockets and PIDFiles are patterns (path.Match) of names in Dir. A malformed one
	// matches nothing.
	Sockets, PIDFiles []string
	// Keys are patterns of files that the children write anew, which they can if these are theirs.
	Keys []string
	// Metrics is a directory of Prometheus' multiprocess files, and no link. Empty: there
	// is none.
	Metrics string
}

// Swept is what came of a sweep. Nothing in it is a reason not to start.
type Swept struct {
	// Count is how many files were removed, or would be.
	Count int
	// Bytes is what the file system gets back.
	Bytes int64
	// Kept is what looks alive, is not ours, or could not be removed, a line each: the first
	// five, and one with the number of the others.
	Kept []error
	// kept counts them.
	kept int
	// first ends the sweep with the first file that is removed; nil: it goes on.
	first context.CancelFunc
}

func (s *Swept) removed(bytes int64) {
	s.Count++
	s.Bytes += bytes
	if s.first != nil {
		s.first()
	}
}

func (s *Swept) keep(format string, args ...any) {
	if s.kept++; s.kept <= maxTold {
		s.Kept = append(s.Kept, fmt.Errorf(format, args...))
	}
}

// Sweep removes sockets that nobody listens on, pid files whose writers are gone, and, where
// this instance is alone in its TMPDIR, all metric files that no process has open as far as
// /proc tells: those of ended processes fill /dev/shm, which in Kubernetes outlives the
// container (authentik#10768, #25876). It removes only what belongs to us or to id, and only by
// what it matches; no link is followed, but that to Dir, where root's links only. When ctx ends
// it stops where it is.
func (s Stale) Sweep(ctx context.Context, id Identity, alone bool) Swept {
	return s.sweep(ctx, sweeping{Swept: &Swept{}, id: id, alone: alone})
}

// SweepOne is [Stale.Sweep] up to the first file that it removes. Where no inode is left this makes
// one for the claim: until there is that, two who start at once could both sweep, and one file is
// no harm.
func (s Stale) SweepOne(ctx context.Context, id Identity, alone bool) Swept {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.sweep(ctx, sweeping{Swept: &Swept{first: cancel}, id: id, alone: alone})
}

// Look tells what [Stale.Sweep] would remove and keep, and removes nothing.
func (s Stale) Look(ctx context.Context, id Identity, alone bool) Swept {
	return s.sweep(ctx, sweeping{Swept: &Swept{}, id: id, alone: alone, look: true})
}

func (s Stale) sweep(ctx context.Context, w sweeping) Swept {
	s.sweepFiles(ctx, w)
	s.sweepMetrics(ctx, w)
	if more := w.kept - len(w.Kept); more > 0 {
		w.Kept = append(w.Kept, fmt.Errorf("%d more are kept in %s and %s for such reasons", more, s.Dir, s.Metrics))
	}
	return *w.Swept
}

func (s Stale) sweepFiles(ctx context.Context, w sweeping) {
	if len(s.Sockets)+len(s.PIDFiles)+len(s.Keys) == 0 {
		return
	}
	dir, err := openToSweep(s.Dir, ".")
	if err != nil {
		w.unreadable(s.Dir, err)
		return
	}
	defer func() { _ = dir.Close() }()
	w.dir, w.path = dir, s.Dir
	wanted := func(name string) bool { return matches(slices.Concat(s.Sockets, s.PIDFiles, s.Keys), name) }
	w.each(ctx, wanted, func(name string, st *unix.Stat_t) {
		switch {
		case matches(s.Sockets, name):
			w.socket(name, st)
		case matches(s.Keys, name):
			if w.alone && int(st.Uid) != w.id.UID {
				w.remove(name, st)
			}
		default:
			w.pidFile(name, st)
		}
	})
}

func (s Stale) sweepMetrics(ctx context.Context, w sweeping) {
	if s.Metrics == "" {
		return
	}
	dir, err := openToSweep(filepath.Dir(s.Metrics), filepath.Base(s.Metrics))
	if err != nil {
		w.unreadable(s.Metrics, err)
		return
	}
	defer func() { _ = dir.Close() }()
	w.dir, w.path = dir, s.Metrics
	others, used := 0, 0
	held := sync.OnceValue(func() map[string]bool { return heldIn(ctx, w.fd()) })
	w.each(ctx, metricFile, func(name string, st *unix.Stat_t) {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
		case !w.alone:
			others++
		case held()[name]:
			used++
		case ctx.Err() == nil: // else it is not known who holds what
			w.remove(name, st)
		}
	})
	if used > 0 {
		w.keep("%d metric files in %s are kept: processes have them open, of another authentik that uses this TMPDIR; give each its own", used, s.Metrics)
	}
	if others > 0 {
		// Another container of the pod has pids of its own, and a name may not even be a pid.
		w.keep("%d metric files in %s are kept: another authentik uses this TMPDIR, and whose they are cannot be told", others, s.Metrics)
	}
}

// openToSweep opens a name in a directory, which may be "." and is no link, without being led.
func openToSweep(dir, name string) (*os.File, error) {
	in, err := openPlace(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(in) }()
	fd, err := openat(in, name, plain, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, name)), nil
}

func (s *Swept) unreadable(dir string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		s.keep("cannot look for what an earlier run left in %s: %s; %s; we are %s", dir, cause(err), found(dir), Self())
	}
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// sweeping is one directory while it is swept.
type sweeping struct {
	*Swept
	dir  *os.File
	path string
	id   Identity
	// alone: no other live instance is in this TMPDIR. look: nothing is removed.
	alone, look bool
}

// each calls fn for the entries whose names are wanted, with what the name itself is.
func (w *sweeping) each(ctx context.Context, wanted func(string) bool, fn func(name string, st *unix.Stat_t)) {
	for ctx.Err() == nil {
		names, err := w.dir.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if ctx.Err() == nil && wanted(name) && fstatat(w.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
				fn(name, &st)
			}
		}
		if err != nil || len(names) == 0 { // io.EOF, or it has been removed
			return
		}
	}
}

func (w *sweeping) fd() int { return int(w.dir.Fd()) }

func (w *sweeping) pathOf(name string) string { return filepath.Join(w.path, name) }

// remove takes away what is ours or the children's. In a directory for everybody, root could
// take away anybody's.
func (w *sweeping) remove(name string, st *unix.Stat_t) {
	if uid := int(st.Uid); uid != os.Geteuid() && uid != w.id.UID {
		w.keep("%s is of an earlier run and kept: it is owned by %d:%d; we are %s; remove it", w.pathOf(name), st.Uid, st.Gid, Self())
		return
	}
	var err error
	if !w.look {
		err = unlinkat(w.fd(), name, 0)
	}
	switch err {
	case nil:
		bytes := int64(0)
		if st.Nlink == 1 {
			bytes = st.Blocks * 512 // whatever the block size (man 3type stat)
		}
		w.removed(bytes)
	case unix.ENOENT:
	default:
		w.keep("cannot remove %s of an earlier run: %w; we are %s", w.pathOf(name), err, Self())
	}
}
