package prepare

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bounds of what [reclaimable] looks at: metric files lie in TMPDIR, in a directory there, or
// in one of a service's own there.
const (
	reclaimDepth = 3
	reclaimNames = 10_000
)

// reclaimable tells whether metric files of ours or of id lie in a directory or little below
// it, which [Stale.Sweep] removes. No link below it is followed.
func reclaimable(dir string, id Identity) bool {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r := reclaiming{id: id, left: reclaimNames, stop: stop}
	r.look(ctx, dir, reclaimDepth, 0)
	return r.found
}

type reclaiming struct {
	id    Identity
	left  int
	found bool
	// stop ends all looking.
	stop context.CancelFunc
}

func (r *reclaiming) look(ctx context.Context, path string, depth, flags int) {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|flags, 0)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	var below []string
	w := sweeping{dir: dir}
	w.each(ctx, r.counted, func(name string, st *unix.Stat_t) {
		switch {
		case r.isOurs(name, st):
			r.found = true
			r.stop()
		case st.Mode&unix.S_IFMT == unix.S_IFDIR && depth > 1:
			below = append(below, name)
		}
	})
	for _, name := range below {
		if ctx.Err() == nil {
			r.look(ctx, filepath.Join(path, name), depth-1, unix.O_NOFOLLOW)
		}
	}
}

func (r *reclaiming) counted(string) bool {
	if r.left--; r.left < 0 {
		r.stop()
	}
	return true
}

// isOurs is about a metric file, which takes an inode, and that [sweeping.remove] would remove.
func (r *reclaiming) isOurs(name string, st *unix.Stat_t) bool {
	uid := int(st.Uid)
	return metricFile(name) && st.Mode&unix.S_IFMT == unix.S_IFREG && (uid == os.Geteuid() || uid == r.id.UID)
}
